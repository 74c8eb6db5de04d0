"""LeReT: learn to write search queries by trying them (Hsu et al., arXiv 2410.23214)."""
