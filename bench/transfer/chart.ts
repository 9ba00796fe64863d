/** A bar for each variant in each group, with the quarters around it. */
import type { Row, Spread } from './measure.ts'

const WIDTH = 760
const HEIGHT = 340
const LEFT = 40
const TOP = 48
const BOTTOM = 76
/** Two lines of names. */
const NAMES_A_LINE = 6
const COLOURS = [
  '#8a8f98',
  '#c3c7cd',
  '#e3c9a8',
  '#1f6feb',
  '#7fb0f5',
  '#b9d4fa',
  '#1a7f37',
  '#6fbf83',
  '#bc4c00',
  '#8250df',
  '#0550ae',
]

export interface Axes {
  /** What a bar shows. */
  readonly of: (row: Row) => Spread
  /** What a group has so many of. */
  readonly group: string
}

export function chart(title: string, rows: readonly Row[], { of, group: groups }: Axes): string {
  const variants = [...new Set(rows.map(({ variant }) => variant))]
  const callers = [...new Set(rows.map((row) => row.callers))]
  const top = Math.max(1.5, ...rows.map((row) => of(row).high)) * 1.05
  const y = (ratio: number): number => TOP + (HEIGHT - TOP - BOTTOM) * (1 - ratio / top)
  const group = (WIDTH - LEFT - 10) / callers.length
  const bar = (group * 0.8) / variants.length
  const bars = rows.map((row) => {
    const at = variants.indexOf(row.variant)
    const x = LEFT + callers.indexOf(row.callers) * group + group * 0.1 + at * bar
    const { median, low, high } = of(row)
    const middle = (x + bar / 2).toFixed(1)
    return `<rect x="${x.toFixed(1)}" y="${y(median).toFixed(1)}" width="${(bar - 2).toFixed(1)}" height="${(y(0) - y(median)).toFixed(1)}" fill="${COLOURS[at % COLOURS.length]}"/><path d="M${middle} ${y(low).toFixed(1)}V${y(high).toFixed(1)}" stroke="#24292f"/>`
  })
  const lines = [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4].flatMap((ratio) =>
    ratio > top
      ? []
      : `<path d="M${LEFT} ${y(ratio).toFixed(1)}H${WIDTH - 10}" stroke="${ratio === 1 ? '#24292f' : '#d0d7de'}"/><text x="${LEFT - 6}" y="${(y(ratio) + 4).toFixed(1)}" text-anchor="end">${ratio}</text>`,
  )
  const names = callers.map(
    (count, at) =>
      `<text x="${(LEFT + (at + 0.5) * group).toFixed(1)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${count} ${groups}${count === 1 ? '' : 's'}</text>`,
  )
  const legend = variants.map((variant, at) => {
    const x = LEFT + (at % NAMES_A_LINE) * ((WIDTH - LEFT) / NAMES_A_LINE)
    const bottom = HEIGHT - 40 + 20 * Math.floor(at / NAMES_A_LINE)
    return `<rect x="${x.toFixed(1)}" y="${bottom}" width="10" height="10" fill="${COLOURS[at % COLOURS.length]}"/><text x="${(x + 14).toFixed(1)}" y="${bottom + 9}">${variant}</text>`
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="11">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    `<text x="${LEFT}" y="24" font-size="14">${title}</text>`,
    ...lines,
    ...bars,
    ...names,
    ...legend,
    '</svg>\n',
  ].join('\n')
}
