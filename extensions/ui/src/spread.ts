// Where boxes of a layered layout go along a layer: ordered to cross few arrows, then pulled towards what they join.

/** Items in bunches: those of bunch b are `items[start[b]]` up to `items[start[b + 1]]`. */
export interface Groups {
  start: Int32Array;
  items: Int32Array;
}

/** Returns items in `n` bunches by their key, in their order. */
export function groupBy(
  n: number, items: ArrayLike<number>, key: (item: number) => number, value: (item: number) => number,
): Groups {
  const start = new Int32Array(n + 1);
  for (let at = 0; at < items.length; at++) start[key(items[at]!) + 1]!++;
  for (let bunch = 0; bunch < n; bunch++) start[bunch + 1]! += start[bunch]!;
  const next = start.slice();
  const found = new Int32Array(items.length);
  for (let at = 0; at < items.length; at++) {
    const bunch = key(items[at]!);
    found[next[bunch]!++] = value(items[at]!);
  }
  return { start, items: found };
}

/** Sweeps that order, fewer for large graphs; and sweeps that only pull. */
const SWEEPS = 12;
const SWEEPS_LARGE = 6;
const LARGE = 4000;
const PULLS = 4;
/** Pixels between two boxes, and between anything and an arrow that passes. */
const BOX_GAP = 16;
const WAY_GAP = 8;

/**
 * Returns the middle of every place across the layers, in pixels.
 *
 * @param layers - The places of each layer; put into order here.
 * @param links - Pairs of places in neighbouring layers: from, to.
 * @param sizes - The places' sizes.
 * @param boxes - How many of the places are boxes; the others are where an arrow passes a layer.
 */
export function spread(layers: Groups, links: number[], sizes: Float64Array, boxes: number): Float64Array {
  const n = sizes.length;
  const starts = Array.from({ length: links.length / 2 }, (_, at) => 2 * at);
  const before = groupBy(n, starts, (at) => links[at + 1]!, (at) => links[at]!);
  const after = groupBy(n, starts, (at) => links[at]!, (at) => links[at + 1]!);
  const middle = new Float64Array(n);
  const wish = new Float64Array(n);
  const settle = packer(sizes, boxes, wish, middle, longest(layers));
  const count = layers.start.length - 1;
  const layer = (at: number) => layers.items.subarray(layers.start[at], layers.start[at + 1]);
  for (let at = 0; at < count; at++) settle(layer(at));

  /** Returns the mean of the middles of what a place is joined to. */
  const pulled = (place: number, ...sides: Groups[]): number => {
    let total = 0;
    let joined = 0;
    for (const { start, items } of sides) {
      for (let at = start[place]!; at < start[place + 1]!; at++) total += middle[items[at]!]!;
      joined += start[place + 1]! - start[place]!;
    }
    return joined ? total / joined : middle[place]!;
  };

  const sweeps = n > LARGE ? SWEEPS_LARGE : SWEEPS;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const forward = sweep % 2 === 0;
    for (let step = 1; step < count; step++) {
      const places = layer(forward ? step : count - 1 - step);
      let sorted = true;
      for (let at = 0; at < places.length; at++) {
        wish[places[at]!] = pulled(places[at]!, forward ? before : after);
        sorted &&= at === 0 || wish[places[at - 1]!]! <= wish[places[at]!]!;
      }
      if (!sorted) places.sort((a, b) => wish[a]! - wish[b]!);
      settle(places);
    }
  }
  const joins = (place: number, { start }: Groups) => start[place + 1]! - start[place]!;
  for (let pull = 0; pull < PULLS; pull++) {
    for (let step = 0; step < count; step++) {
      const places = layer(pull % 2 ? step : count - 1 - step);
      places.forEach((place, at) => {
        const alone = !joins(place, before) && !joins(place, after);
        // What joins nothing stays beside its neighbour.
        wish[place] = alone && at ? wish[places[at - 1]!]! : pulled(place, before, after);
      });
      settle(places);
    }
  }
  straighten(layers, before, after, sizes, boxes, middle);
  return middle;
}

/** Puts places that follow each other one by one onto one line, as far as their neighbours leave room. */
function straighten(
  layers: Groups, before: Groups, after: Groups, sizes: Float64Array, boxes: number, middle: Float64Array,
): void {
  const n = middle.length;
  const rank = new Int32Array(n);
  for (let at = 0; at < layers.items.length; at++) rank[layers.items[at]!] = at;
  const first = new Uint8Array(layers.items.length + 1);
  for (const at of layers.start) first[at] = 1;
  const apart = (a: number, b: number) => (sizes[a]! + sizes[b]!) / 2 + (a < boxes && b < boxes ? BOX_GAP : WAY_GAP);
  const only = (place: number, { start, items }: Groups) =>
    start[place + 1]! - start[place]! === 1 ? items[start[place]!]! : -1;
  const lowest = (place: number): number => {
    const at = rank[place]!;
    const neighbour = first[at] ? -1 : layers.items[at - 1]!;
    return neighbour < 0 ? -Infinity : middle[neighbour]! + apart(neighbour, place);
  };
  const highest = (place: number): number => {
    const at = rank[place]! + 1;
    const neighbour = first[at] ? -1 : layers.items[at]!;
    return neighbour < 0 ? Infinity : middle[neighbour]! - apart(place, neighbour);
  };
  const next = (place: number): number => {
    const follower = only(place, after);
    return follower >= 0 && only(follower, before) === place ? follower : -1;
  };
  for (let round = 0; round < 2; round++) {
    for (let place = 0; place < n; place++) {
      const previous = only(place, before);
      if (previous >= 0 && next(previous) === place) continue; // it is in a line that began before
      for (let at = place; at >= 0; ) {
        let [low, high, total] = [-Infinity, Infinity, 0];
        const line: number[] = [];
        for (; at >= 0; at = next(at)) {
          const [own, most] = [Math.max(low, lowest(at)), Math.min(high, highest(at))];
          if (line.length && own > most) break;
          [low, high] = [own, most];
          total += middle[at]!;
          line.push(at);
        }
        if (line.length < 2) continue;
        const shared = Math.min(high, Math.max(low, total / line.length));
        for (const one of line) middle[one] = shared;
      }
    }
  }
}

function longest(layers: Groups): number {
  let most = 0;
  for (let at = 1; at < layers.start.length; at++) most = Math.max(most, layers.start[at]! - layers.start[at - 1]!);
  return most;
}

/**
 * Returns what places a layer's places as near to their wishes as their sizes let them, keeping their order: least
 * squares by pooling neighbours that push each other. Source: pool adjacent violators, Ayer et al. 1955.
 */
function packer(
  sizes: Float64Array, boxes: number, wish: Float64Array, middle: Float64Array, most: number,
): (places: Int32Array) => void {
  const sums = new Float64Array(most);
  const weights = new Float64Array(most);
  const members = new Int32Array(most);
  const offsets = new Float64Array(most);
  return (places) => {
    let pools = 0;
    let offset = 0;
    for (let at = 0; at < places.length; at++) {
      const place = places[at]!;
      if (at) {
        const previous = places[at - 1]!;
        offset += (sizes[previous]! + sizes[place]!) / 2 + (previous < boxes && place < boxes ? BOX_GAP : WAY_GAP);
      }
      offsets[at] = offset;
      // Arrows that pass weigh more: a straight one is easier to follow.
      const weight = place < boxes ? 1 : 2;
      sums[pools] = weight * (wish[place]! - offset);
      weights[pools] = weight;
      members[pools++] = 1;
      while (pools > 1 && sums[pools - 2]! / weights[pools - 2]! > sums[pools - 1]! / weights[pools - 1]!) {
        pools--;
        sums[pools - 1]! += sums[pools]!;
        weights[pools - 1]! += weights[pools]!;
        members[pools - 1]! += members[pools]!;
      }
    }
    for (let pool = 0, at = 0; pool < pools; pool++) {
      const mean = sums[pool]! / weights[pool]!;
      for (const end = at + members[pool]!; at < end; at++) middle[places[at]!] = mean + offsets[at]!;
    }
  };
}
