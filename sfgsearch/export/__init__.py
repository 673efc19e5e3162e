"""Export: recorded networks with their trained weights, rebuilt and written for use elsewhere."""

from sfgsearch.export._description import NetworkDescription, describe_network
from sfgsearch.export._export import FORMATS, Exported, export_network
from sfgsearch.export._formats import load_exported
from sfgsearch.export._rebuild import load_network, rebuild

__all__ = [
    "FORMATS",
    "Exported",
    "NetworkDescription",
    "describe_network",
    "export_network",
    "load_exported",
    "load_network",
    "rebuild",
]
