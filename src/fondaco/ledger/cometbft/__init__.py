"""The driver for several validators: CometBFT orders the blocks, this process executes and proves them."""
