"""What is seen of red, green and blue light."""

LUMA = (0.2126, 0.7152, 0.0722)  # shares of the three in what is seen as bright: ITU-R BT.709
