"""Running, keeping and judging: methods, the engines that simulate them (by steps or by jumps), the
experiment file, the store of results, the statistics that turn them into verdicts, and the claims judged.
"""
