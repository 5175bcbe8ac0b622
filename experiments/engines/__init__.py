"""One module per way to compute a cell, and `plain`, the obvious version that each is compared with."""
