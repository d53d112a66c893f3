"""Pictures of runs: SVG, HTML, text, live. Imports model and engine.facts; IPython only when it is there already."""
