"""Market history on disk: Parquet files named by what is in them, manifests that say which are current, checks, views.

One lake belongs to one market home; nothing here knows of models, decisions or Dagster.
"""
