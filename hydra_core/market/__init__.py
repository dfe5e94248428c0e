"""Layer 1: what an exchange says, over REST and streams, in HYDRA's words. Nothing is stored here.

ccxt is imported only when a connection is opened, never with a module of this package.
"""
