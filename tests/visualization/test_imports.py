"""What importing the package brings along."""

import subprocess
import sys

STEPS = """
import sys
def show():
    print(*(name for name in ("sfgsearch.visualization", "optuna_dashboard", "plotly", "matplotlib") if name in sys.modules))
import sfgsearch
show()
from sfgsearch import visualization
import sfgsearch.visualization.data
show()
visualization.plot_history([])
show()
visualization.matplotlib.plot_history([])
show()
"""


def test_drawing_libraries_are_loaded_when_they_draw():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    drawing = "sfgsearch.visualization"
    assert done.stdout.splitlines() == ["", drawing, f"{drawing} plotly", f"{drawing} plotly matplotlib"]
