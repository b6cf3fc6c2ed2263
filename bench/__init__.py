"""Side-by-side benchmarks: ours, the peer, and the floor of one forward and backward pass over the unique tokens. Run by `make bench`."""
