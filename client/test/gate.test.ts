/** The order of `rev`: applied once each, without a gap, whatever the network does. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { RevGate } from "../src/gate.js";
import { seeded, shuffled } from "./random.js";

function makeGate(rev: number | undefined) {
  const applied: number[] = [];
  const onGap = vi.fn();
  const gate = new RevGate<{ rev: number }>({ apply: (event) => applied.push(event.rev), onGap });
  if (rev !== undefined) gate.advance(rev);
  return { gate, applied, onGap, accept: (...revs: number[]) => { for (const r of revs) gate.accept({ rev: r }); } };
}

describe("RevGate", () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  it("applies the next event at once and drops what it has seen", () => {
    const { applied, accept } = makeGate(4);
    accept(5, 5, 3, 6);
    expect(applied).toEqual([5, 6]);
  });

  it("holds an event that overtook others until they are there", () => {
    const { applied, accept, onGap } = makeGate(1);
    accept(4, 3);
    expect(applied).toEqual([]);
    accept(2);
    expect(applied).toEqual([2, 3, 4]);
    vi.advanceTimersByTime(60_000);
    expect(onGap).not.toHaveBeenCalled();
  });

  it("asks for what is missing after a moment, and goes on from the snapshot", () => {
    const { gate, applied, accept, onGap } = makeGate(1);
    accept(3, 5);
    vi.advanceTimersByTime(299);
    expect(onGap).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(onGap).toHaveBeenCalledTimes(1);
    gate.advance(4);
    expect(applied).toEqual([5]);
    vi.advanceTimersByTime(60_000);
    expect(onGap).toHaveBeenCalledTimes(1);
  });

  it("asks again, ever more slowly, and not for ever", () => {
    const { accept, onGap } = makeGate(1);
    accept(3);
    vi.advanceTimersByTime(300 + 600 + 1_200);
    expect(onGap).toHaveBeenCalledTimes(3);
    vi.advanceTimersByTime(3_600_000);
    expect(onGap).toHaveBeenCalledTimes(8);
    accept(4);
    vi.advanceTimersByTime(3_600_000);
    expect(onGap).toHaveBeenCalledTimes(9);
  });

  it("takes a hint as a gap that only a snapshot closes", () => {
    const { gate, onGap } = makeGate(7);
    gate.hint(7);
    vi.advanceTimersByTime(1_000);
    expect(onGap).not.toHaveBeenCalled();
    gate.hint(9);
    vi.advanceTimersByTime(300);
    expect(onGap).toHaveBeenCalledTimes(1);
  });

  it("holds everything before the first snapshot", () => {
    const { gate, applied, accept, onGap } = makeGate(undefined);
    accept(8, 9);
    vi.advanceTimersByTime(300);
    expect(onGap).toHaveBeenCalledTimes(1);
    gate.advance(8);
    expect(applied).toEqual([9]);
  });

  it("bounds what it holds and remembers that there was more", () => {
    const { gate, applied, accept, onGap } = makeGate(0);
    for (let rev = 1_000; rev > 1; rev -= 1) accept(rev);
    gate.advance(800);
    expect(applied).toEqual(Array.from({ length: 200 }, (_, index) => 801 + index));
    const other = makeGate(0);
    for (let rev = 2; rev <= 1_000; rev += 1) other.accept(rev);
    other.accept(1);
    expect(other.applied).toHaveLength(201);
    vi.advanceTimersByTime(300);
    expect(other.onGap).toHaveBeenCalled();
    expect(onGap).not.toHaveBeenCalled();
  });

  it("has room again for what is held once a snapshot has gone past it", () => {
    const { gate, applied, accept } = makeGate(0);
    for (let rev = 2; rev <= 300; rev += 1) accept(rev);
    gate.advance(300);
    for (let rev = 500; rev > 300; rev -= 1) accept(rev);
    expect(applied).toHaveLength(200);
  });

  it.each(Array.from({ length: 200 }, (_, seed) => seed))("applies a shuffled, doubled sequence in order (seed %i)", (seed) => {
    const random = seeded(seed);
    const { applied, accept } = makeGate(10);
    const revs = Array.from({ length: 40 }, (_, index) => 11 + index);
    accept(...shuffled([...revs, ...revs, 3, 10], random));
    expect(applied).toEqual(revs);
  });
});
