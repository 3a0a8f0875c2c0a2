// Draw values and policies of a grid at the positions of one or two sliders, beside a fixed solution.
const SVG = "http://www.w3.org/2000/svg";
const TILES = { S: "#cfe8ff", ".": "#f7f7f5", "#": "#3c4650", H: "#24476b", G: "#4fa96a" };
const LETTER = "#f0c36d";
const SCALE = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];  // viridis
const ARROWS = [[-1, 0], [0, 1], [1, 0], [0, -1]];  // left, down, right, up

function color(share) {
  const place = Math.min(Math.max(share, 0), 1) * (SCALE.length - 1);
  const below = Math.min(Math.floor(place), SCALE.length - 2);
  return SCALE[below].map((part, i) => Math.round(part + (place - below) * (SCALE[below + 1][i] - part)));
}

function add(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function draw(svg, panel, value, policy, low, high) {
  svg.replaceChildren();
  const rows = panel.map.length, columns = panel.map[0].length;
  svg.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
  panel.map.forEach((line, row) => [...line].forEach((letter, column) => {
    add(svg, "rect", { x: column, y: row, width: 1, height: 1, fill: TILES[letter] ?? LETTER, stroke: "#8a949e", "stroke-width": 0.015 });
  }));
  panel.tiles.forEach(([row, column], state) => {
    const number = value[state];
    if (number === null) {
      add(svg, "text", { x: column + 0.5, y: row + 0.62, "font-size": 0.34, "text-anchor": "middle", fill: "#fefefe" }, panel.map[row][column]);
      return;
    }
    const shade = color(high > low ? (number - low) / (high - low) : 0.5);
    const ink = 0.299 * shade[0] + 0.587 * shade[1] + 0.114 * shade[2] > 128 ? "#000001" : "#fefefe";
    add(svg, "rect", { x: column, y: row, width: 1, height: 1, fill: `rgb(${shade})` });
    add(svg, "text", { x: column + 0.5, y: row + 0.95, "font-size": 0.18, "text-anchor": "middle", fill: ink }, number.toPrecision(3));
    policy[state].forEach((share, action) => {
      if (!share || action >= ARROWS.length) return;
      const [x, y] = ARROWS[action].map(part => part * 0.28 * share);
      const middle = [column + 0.5, row + 0.38];
      add(svg, "line", { x1: middle[0], y1: middle[1], x2: middle[0] + x, y2: middle[1] + y, stroke: ink, "stroke-width": 0.05 });
      add(svg, "circle", { cx: middle[0] + x, cy: middle[1] + y, r: 0.055, fill: ink });
    });
  });
}

for (const place of document.querySelectorAll(".panel")) {
  const panel = JSON.parse(place.querySelector("script").textContent);
  const ranges = [...place.querySelectorAll("input")], said = [...place.querySelectorAll("output")];
  const first = ranges[0], button = place.querySelector("button");
  const [left, right] = place.querySelectorAll("svg");
  const numbers = [...panel.value.flat(2), ...panel.reference_value].filter(number => number !== null);
  const low = Math.min(...numbers), high = Math.max(...numbers);
  const show = () => {
    const chosen = ranges.map(range => Number(range.value));
    panel.sliders.forEach((slider, i) => {
      said[i].textContent = `${slider.name} ${slider.positions[chosen[i]].toLocaleString("en")}`;
    });
    const [value, policy] = [panel.value, panel.policy].map(frames => chosen.reduce((part, i) => part[i], frames));
    draw(left, panel, value, policy, low, high);
  };
  draw(right, panel, panel.reference_value, panel.reference_policy, low, high);
  ranges.forEach((range, i) => {
    range.max = panel.sliders[i].positions.length - 1;
    range.value = i === 0 ? range.max : 0;
    range.addEventListener("input", show);
  });
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (first.value === first.max) first.value = 0;
    button.textContent = "Stop";
    timer = setInterval(() => {
      if (first.value === first.max) return stop();
      first.value = Number(first.value) + 1;
      show();
    }, 200);
  });
  show();
}
