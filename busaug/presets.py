"""Named settings: the scale of the paper's runs, and the methods that its own is compared with.

A preset holds only what it changes; the rest is the default. ``proposed`` changes nothing: it names
the method, and the baselines differ from it in what makes them another method and in nothing else
(docs/baselines.md, with sources and with what could not be reproduced).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Mapping[str, Any]]

_UNWEIGHTED = {"mode": "L0"}
_SINGLE = {"fusion": "SR", "references": 1}
# Its gamma leaves contents as like themselves (SSIM) as ResNet-50 at the default does.
_VGG19 = {"backbone": "vgg19", "gamma": 3.0}

PRESETS: Mapping[str, Values] = {
    "default": {},
    "paper": {"style": {"iterations": 1000}, "plan": {"pairs": "all"}},
    "proposed": {},
    "proposed-no-xai": {"relevance": _UNWEIGHTED},
    # Gatys, Ecker and Bethge, CVPR 2016.
    "gatys-vgg19": {"style": {**_VGG19, **_SINGLE}, "relevance": _UNWEIGHTED},
    "gatys-resnet50": {"style": _SINGLE, "relevance": _UNWEIGHTED},
    # Li, Wang, Liu and Hou, IJCAI 2017, polynomial kernel.
    "dnst-vgg19": {
        "style": {**_VGG19, **_SINGLE, "layer_weights": "positions"},
        "relevance": _UNWEIGHTED,
    },
    "dnst-resnet50": {
        "style": {**_SINGLE, "layer_weights": "positions"},
        "relevance": _UNWEIGHTED,
    },
    # Wang et al., PRIME 2020.
    "mr2nst-vgg19": {
        "style": {**_VGG19, "fusion": "GM"},
        "relevance": _UNWEIGHTED,
    },
    "mr2nst-resnet50": {"style": {"fusion": "GM"}, "relevance": _UNWEIGHTED},
    # The program that the paper's authors published. 1e-6 is its style over its content weight;
    # its 50 Adam steps of 0.001 end at the 51st evaluation.
    "as-released": {
        "style": {
            **_SINGLE,
            "balance": "elements",
            "gamma": 1e-6,
            "content_target": "mixture",
            "channels": 3,
            "optimiser": "adam",
            "step": 0.001,
            "decay": 1.0,
            "iterations": 51,
            "smoothing": 0,
            "plateau": 0,
        },
        "relevance": _UNWEIGHTED,
    },
}
