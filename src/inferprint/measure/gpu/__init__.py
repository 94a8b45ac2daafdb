"""Transformer blocks of published shapes with random weights, timed and metered on this machine with PyTorch.

PyTorch is imported when a run begins, so that shapes, plans and messages need none:

    from inferprint.measure.gpu.device import open_device
    from inferprint.measure.gpu.plan import GpuPlan
    from inferprint.measure.gpu.run import GpuRun
    from inferprint.measure.gpu.shapes import shape_of
"""
