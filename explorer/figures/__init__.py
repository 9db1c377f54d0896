"""Figures: their data as typed values, and how matplotlib and Plotly draw them.

Data is computed before it is drawn. Nothing here reads a database."""
