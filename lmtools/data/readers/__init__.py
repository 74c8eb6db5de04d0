"""The public formats that lmtools reads, one file each."""
