"""The folder of a data set: committed shards, the index over them, and what is exported from them."""
