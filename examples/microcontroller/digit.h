/* A picture for the network, from black to white by the shades below; draw your own. This one is
 * digit 1 of MNIST's test set (LeCun et al., 1998). */
static const char shades[] = " .:-=+*#%@";

static const char picture[28][29] = {
    "                            ",
    "                            ",
    "                            ",
    "          ==*@@+-           ",
    "         *@@@@@@%.          ",
    "        *@@@%+*@@=          ",
    "       :@@%.   %@+          ",
    "       -@%    =@@:          ",
    "        .     %@@:          ",
    "             =@@#           ",
    "            :@@@:           ",
    "            +@@+            ",
    "           *@@*             ",
    "           @@@.             ",
    "          #@@+              ",
    "         -@@#               ",
    "         #@@+               ",
    "        +@@*                ",
    "        @@@                 ",
    "        @@@.         .++++  ",
    "        @@@@@@@@*+*@@@@@@@= ",
    "        *@@@@@@@@@@@@@@*==: ",
    "         ====*@@@*==.       ",
    "                            ",
    "                            ",
    "                            ",
    "                            ",
    "                            ",
};
