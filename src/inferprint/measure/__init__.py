"""Measurements of one's own: of an endpoint, of an accelerator, of a running server.

A sweep from Python; `httpx` is needed for endpoints alone, which is why nothing is imported here:

    from inferprint.measure.client import Client
    from inferprint.measure.endpoint import Sweep
    from inferprint.measure.observations import ObservationWriter
    from inferprint.measure.plan import SweepPlan
    from inferprint.measure.rows import Subject
    from inferprint.measure.target import Target

    target = Target("http://localhost:8000/v1", model="")
    subject = Subject("llama-3.1-8b", "h100_sxm", gpu_count=1, engine="vllm")
    with ObservationWriter(Path("own.csv")) as writer:
        summary = Sweep(Client(target), SweepPlan(), subject, writer).run()
"""
