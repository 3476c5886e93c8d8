"""The networks, with torchvision's key names and without torchvision."""

from busaug.models.resnet import resnet50
from busaug.models.vgg import vgg19_features

__all__ = ["resnet50", "vgg19_features"]
