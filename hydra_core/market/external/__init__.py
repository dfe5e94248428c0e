"""What is known from elsewhere than exchanges: on-chain figures, aggregated derivatives, news. Everything here is optional.

Clients turn a provider's answer into plain points; where they are kept is the lake's business. Each provider's calls are
counted against its quota, answers are kept on disk, and what cannot be read is set aside, counted and shown.
"""
