    lenet_careful(image, conv2, conv1);
