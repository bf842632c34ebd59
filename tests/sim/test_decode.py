from sim.runner import run_bench


def test_decode(simulator, tmp_path):
    run_bench("decode", simulator, tmp_path)
