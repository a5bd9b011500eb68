"""The HTML report: data.py gathers what it shows, render.py makes one file of it, assets/ has what is not Python."""
