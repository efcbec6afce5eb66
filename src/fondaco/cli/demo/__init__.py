"""The demo: four institutions, real data, all twelve steps, each figure beside DuckDB's in the clear."""
