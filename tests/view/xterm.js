// xterm.js as a reference terminal: one JSON request per line on stdin, one answer per line on stdout.
// {id, op: "new", rows, cols} | {id, op: "write", data: base64} | {id, op: "resize", rows, cols} | {id, op: "dump"} | {id, op: "drop"}
"use strict";
const path = require("path");
const { Terminal } = require(path.join(process.argv[2], "node_modules", "@xterm", "headless"));
const terminals = new Map();

function style(cell) {
  return [
    cell.isFgRGB() ? "#" + cell.getFgColor().toString(16) : cell.isFgPalette() ? cell.getFgColor() : -1,
    cell.isBgRGB() ? "#" + cell.getBgColor().toString(16) : cell.isBgPalette() ? cell.getBgColor() : -1,
    (cell.isBold() ? "b" : "") + (cell.isDim() ? "d" : "") + (cell.isItalic() ? "i" : "") + (cell.isUnderline() ? "u" : "") +
      (cell.isBlink() ? "k" : "") + (cell.isInverse() ? "r" : "") + (cell.isInvisible() ? "h" : "") +
      (cell.isStrikethrough() ? "s" : "") + (cell.isOverline() ? "o" : ""),
  ].join(",");
}

function dump(terminal) {
  const buffer = terminal.buffer.active;
  const rows = [];
  for (let y = 0; y < terminal.rows; y++) {
    const line = buffer.getLine(buffer.baseY + y);
    const cells = [];
    for (let x = 0; x < terminal.cols; x++) {
      const cell = line.getCell(x);
      if (cell.getWidth() === 0) continue;
      cells.push([cell.getChars() || " ", cell.getWidth(), style(cell)]);
    }
    rows.push({ wrapped: y > 0 && line.isWrapped, cells });
  }
  return { rows, cursor: [buffer.cursorY, buffer.cursorX], kind: buffer.type, modes: terminal.modes };
}

require("readline").createInterface({ input: process.stdin }).on("line", (text) => {
  const ask = JSON.parse(text);
  const answer = (body) => process.stdout.write(JSON.stringify(body) + "\n");
  const terminal = terminals.get(ask.id);
  if (ask.op === "new") {
    terminals.set(ask.id, new Terminal({ rows: ask.rows, cols: ask.cols, allowProposedApi: true, scrollback: 1000 }));
    answer({});
  } else if (ask.op === "write") terminal.write(Buffer.from(ask.data, "base64"), () => answer({}));
  else if (ask.op === "resize") { terminal.resize(ask.cols, ask.rows); answer({}); }
  else if (ask.op === "drop") { terminal.dispose(); terminals.delete(ask.id); answer({}); }
  else answer(dump(terminal));
});
