"""One module per confidence estimator; `registry.py` lists them."""
