#!/usr/bin/env python3
"""The network of common/model/model.h in PyTorch, to measure ours against.

A 1x1 convolution; blocks of layers (every channel shifted by at most a pixel, then a 1x1
convolution), batch norm and ReLU6 behind every convolution; global average pool; linear.  One
training step is forward, backward and SGD with Nesterov momentum on a batch that lies ready in
memory: PyTorch is spared augmentation and loading, which our own figures include.

Prints one JSON line: {"bench": "torch", "mode": ..., "images_per_s": ...}, the median of the steps.
"""
import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional


class DepthwiseShift(nn.Module):
    """A shift as a depthwise 3x3 convolution with a single 1 per channel."""

    def __init__(self, channels, generator):
        super().__init__()
        offsets = draw_offsets(channels, generator)
        kernel = torch.zeros(channels, 1, 3, 3)
        kernel[torch.arange(channels), 0, offsets[:, 0], offsets[:, 1]] = 1.0
        self.register_buffer("kernel", kernel)

    def forward(self, x):
        return functional.conv2d(x, self.kernel, padding=1, groups=x.shape[1])


class SliceShift(nn.Module):
    """A shift as slices of the padded input, channels of one offset side by side."""

    def __init__(self, channels, generator):
        super().__init__()
        offsets = draw_offsets(channels, generator)
        counts = torch.bincount(offsets[:, 0] * 3 + offsets[:, 1], minlength=9)
        self.counts = counts.tolist()

    def forward(self, x):
        height, width = x.shape[2:]
        padded = functional.pad(x, (1, 1, 1, 1))
        parts, first = [], 0
        for place, count in enumerate(self.counts):
            y, z = divmod(place, 3)
            parts.append(padded[:, first:first + count, y:y + height, z:z + width])
            first += count
        return torch.cat(parts, dim=1)


def draw_offsets(channels, generator):
    weights = torch.tensor([0.3, 0.4, 0.3])
    drawn = torch.multinomial(weights, 2 * channels, replacement=True, generator=generator)
    return drawn.view(channels, 2)


def make_network(options):
    generator = torch.Generator().manual_seed(1)
    shift = {"depthwise": DepthwiseShift, "slices": SliceShift}[options.shift]

    def convolution(inputs, outputs, size, stride):
        return [nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
                nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)]

    parts = convolution(3, options.filters[0], 1, 1)
    channels = options.filters[0]
    for block, (filters, layers) in enumerate(zip(options.filters, options.layers)):
        for layer in range(layers):
            stride = 2 if layer == 0 and block > 0 else 1
            if options.layer_type == "shift":
                parts.append(shift(channels, generator))
                parts += convolution(channels, filters, 1, stride)
            else:
                parts += convolution(channels, filters, 3, stride)
            channels = filters
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]
    return nn.Sequential(*parts)


def make_step(network, images, labels, mode):
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True,
                                weight_decay=5e-4)

    def train():
        optimiser.zero_grad(set_to_none=True)
        functional.cross_entropy(network(images), labels).backward()
        optimiser.step()

    def infer():
        with torch.inference_mode():
            network(images)

    network.train(mode == "train")
    return train if mode == "train" else infer


def parse():
    def numbers(text):
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--filters", type=numbers, default=[32, 64, 128])
    parser.add_argument("--layers", type=numbers, default=[6, 6, 6])
    parser.add_argument("--layer-type", choices=["shift", "conv3x3"], default="shift")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--shift", choices=["depthwise", "slices"], default="depthwise")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    network = make_network(options)
    images = torch.randn(options.batch, 3, 32, 32)
    labels = torch.randint(0, 10, (options.batch,))
    if options.channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    step = make_step(network, images, labels, options.mode)
    seconds = []
    for _ in range(options.steps + 2):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds[2:])
    print(json.dumps({"bench": "torch", "mode": options.mode, "version": torch.__version__,
                      "network": ",".join(map(str, options.filters)),
                      "shift": options.shift, "channels_last": options.channels_last,
                      "threads": options.threads, "images_per_s": round(options.batch / median)}))


if __name__ == "__main__":
    main()
