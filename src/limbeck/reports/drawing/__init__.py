"""What the page draws: axes, curves and diagrams as SVG, and tables whose cells are warm."""
