"""What a data set is asked to hold: its cells, their quotas, and what every one of its rows shows."""
