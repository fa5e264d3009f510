    if (level == NONE)
        return LENET_ERROR_CPU;
