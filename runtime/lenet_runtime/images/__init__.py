"""From pictures and pixels to the network's input, and from its logits to labels.

What turns a picture into a digit has a twin in JavaScript, file by file, which the format ``web``
brings along: ``lenet_export/formats/web/js``. A test holds the two to the same bytes.
"""
