"""What synthetic radiographs are for: the job that makes balanced, checked, copy-free data sets of them."""
