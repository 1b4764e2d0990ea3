"""The names of torchvision's classification models, known without importing torchvision.

Snakemake parses the config in every job, and importing torchvision takes seconds. A test holds the
list against the installed torchvision.
"""

TORCHVISION_CLASSIFIERS = (
    "alexnet", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "densenet121",
    "densenet161", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6",
    "efficientnet_b7", "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3",
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_16gf", "regnet_x_1_6gf",
    "regnet_x_32gf", "regnet_x_3_2gf", "regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf",
    "regnet_y_128gf", "regnet_y_16gf", "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf",
    "regnet_y_400mf", "regnet_y_800mf", "regnet_y_8gf", "resnet101", "resnet152", "resnet18",
    "resnet34", "resnet50", "resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
    "squeezenet1_0", "squeezenet1_1", "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s",
    "swin_v2_t", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32", "wide_resnet101_2",
    "wide_resnet50_2",
)  # fmt: skip

# The least height and width of the images that a model can be trained on, by the first letters of its name,
# measured with every model of the list. A model that is not named takes images of any size.
LEAST_SIDE = {
    "alexnet": 63, "convnext_": 32, "densenet": 29, "googlenet": 15, "inception_v3": 75, "squeezenet1_0": 21,
    "squeezenet1_1": 17, "swin_": 4, "vgg": 32,
}  # fmt: skip
# These models divide a square image into parts with sides of so many pixels.
PART = {"maxvit_t": 224, **{name: int(name[-2:]) for name in TORCHVISION_CLASSIFIERS if name[:4] == "vit_"}}

# The first letters of the models that have no dropout.
_WITHOUT_DROPOUT = ("convnext_", "densenet", "regnet", "resne", "shufflenet_", "wide_resnet")


def has_no_dropout(model: str) -> bool:
    """Whether it is a model of torchvision without a layer of dropout."""
    return model in TORCHVISION_CLASSIFIERS and model.startswith(_WITHOUT_DROPOUT)


def images_it_takes(model: str, height: int, width: int) -> str | None:
    """The images that a model of torchvision takes, as a phrase; None if it takes those of this size."""
    if model not in TORCHVISION_CLASSIFIERS:
        return None
    least = next((side for start, side in LEAST_SIDE.items() if model.startswith(start)), 1)
    if min(height, width) < least:
        return f"images of at least {least}×{least} pixels"
    part = PART.get(model)
    if part and (height != width or height % part):
        return f"square images whose side is a multiple of {part} pixels"
    return None
