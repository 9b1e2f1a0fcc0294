"""What a data set says of itself: its card, the chart of its balance, and its Croissant description."""
