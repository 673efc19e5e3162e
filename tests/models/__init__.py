"""Models of torchvision, timm and MONAI, analysed, put into groups and compared with themselves."""
