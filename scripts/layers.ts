/**
 * Who may import whom, and what the core may not touch. DESIGN in one table; type imports count
 * like any other, because a cycle of types is still a knot for the reader.
 *
 *   foundation <- protocol <- participant, log <- commit, recovery <- live <- coordinator <- index <- cli
 *
 * A path that the table does not know is a finding: a new folder gets its place here first.
 */
import { isBuiltin } from 'node:module'
import { posix } from 'node:path'
import type { Node } from 'oxc-parser'
import {
  type Finding,
  isMain,
  type ParsedModule,
  parseModule,
  readRepository,
  report,
  type SourceFile,
} from './source-tree.ts'

export type LayerRule =
  | 'unknown-unit'
  | 'layer'
  | 'cycle'
  | 'package'
  | 'file-system'
  | 'network'
  | 'pure-protocol'
  | 'ports'
  | 'enum'
  | 'default-export'
  | 'export-star'
  | 're-exports-only'

/** Paths are files, or folders when they end with a slash. */
interface Unit {
  readonly owns: readonly string[]
  readonly imports: readonly string[]
  /** Allowed as `import type` only. */
  readonly importsTypes?: readonly string[]
  readonly packages?: readonly string[]
}

const PURE = ['src/errors.ts', 'src/xid.ts', 'src/invariant.ts', 'src/redact.ts']
const FOUNDATION = [
  ...PURE,
  'src/clock.ts',
  'src/failpoint.ts',
  'src/events.ts',
  'src/tracing.ts',
  'src/turnover-map.ts',
  'src/waits.ts',
]
const LOWER = [...FOUNDATION, 'src/protocol/']
const LOGGER = 'src/logger.ts'
const CONFIG = 'src/config.ts'
const LOG_PORT = 'src/log/decision-log.ts'
const ADAPTER_API = 'src/adapter.ts'
/** The folder of each adapter, and the package that it is for. */
const ADAPTERS = {
  pg: 'pg',
  mysql2: 'mysql2',
  knex: 'knex',
  kysely: 'kysely',
  drizzle: 'drizzle-orm',
  typeorm: 'typeorm',
}

const UNITS: readonly Unit[] = [
  // The vocabulary is words without behaviour, so naming one of its types binds nothing.
  { owns: FOUNDATION, imports: FOUNDATION, importsTypes: ['src/protocol/vocabulary.ts'] },
  { owns: ['src/protocol/'], imports: [...PURE, 'src/protocol/'] },
  { owns: ['src/participant/'], imports: [...LOWER, 'src/participant/'] },
  { owns: ['src/log/'], imports: [...LOWER, 'src/log/'] },
  { owns: ['src/commit/'], imports: [...LOWER, 'src/participant/', LOG_PORT, 'src/commit/'] },
  { owns: ['src/recovery/'], imports: [...LOWER, 'src/participant/', LOG_PORT, 'src/recovery/'] },
  // The socket of a coordinator that runs, both ends of it.
  { owns: ['src/live/'], imports: [...LOWER, 'src/log/', 'src/recovery/', 'src/live/'] },
  {
    owns: [LOGGER],
    imports: ['src/errors.ts', 'src/events.ts', 'src/redact.ts'],
    packages: ['pino'],
  },
  {
    owns: ['src/coordinator.ts', 'src/coordinator/'],
    imports: [
      ...LOWER,
      LOGGER,
      'src/participant/',
      'src/log/',
      'src/commit/',
      'src/recovery/',
      'src/live/',
      'src/coordinator/',
    ],
  },
  { owns: [CONFIG], imports: ['src/coordinator.ts', 'src/coordinator/', 'src/participant/'] },
  {
    owns: ['src/index.ts'],
    imports: [
      ...LOWER,
      LOGGER,
      CONFIG,
      'src/participant/',
      'src/log/',
      'src/commit/',
      'src/recovery/',
      'src/live/',
      'src/coordinator.ts',
      'src/coordinator/',
    ],
  },
  { owns: [ADAPTER_API], imports: [...LOWER, 'src/participant/', 'src/commit/'] },
  {
    owns: ['src/cli/'],
    imports: [
      ...LOWER,
      LOGGER,
      CONFIG,
      'src/participant/',
      'src/log/',
      'src/recovery/',
      'src/live/',
      'src/coordinator.ts',
      'src/coordinator/',
      'src/index.ts',
      'src/cli/',
    ],
    packages: ['commander', 'jiti', 'pino', 'string-width', 'zod'],
  },
  { owns: ['adapters/dialect/'], imports: [ADAPTER_API, 'adapters/dialect/'] },
  // Proves adapters from outside: it knows the ports, and no adapter.
  { owns: ['adapters/contract/'], imports: [ADAPTER_API, 'adapters/contract/'] },
  ...Object.entries(ADAPTERS).map(([name, forPackage]) => ({
    owns: [`adapters/${name}/`],
    imports: [ADAPTER_API, 'adapters/dialect/', `adapters/${name}/`],
    packages: [forPackage],
  })),
]

/** Examples are what a user copies: they meet the library by its public names only. */
const EXAMPLES: Unit = { owns: ['examples/'], imports: ['examples/', 'test/support/'] }

const RE_EXPORTS_ONLY = ['src/index.ts', ADAPTER_API]
const FILE_SYSTEM = ['src/log/', 'src/cli/']
/** Who may speak over sockets. Drivers do it for the adapters. */
const NETWORK = ['src/live/']
const NETWORK_MODULES = ['net', 'http', 'http2', 'https', 'tls', 'dgram']
const OWN_CLOCK = ['src/clock.ts', 'src/cli/']

/** Modules that hand out time, timers or chance, */
const PORT_MODULES = ['crypto', 'timers', 'timers/promises', 'perf_hooks']
/** and what they have that always answers the same. */
const PURE_MEMBERS = ['createHash', 'hash', 'timingSafeEqual']
const PORT_GLOBALS = ['performance', 'crypto', 'setTimeout', 'setInterval', 'setImmediate']
const PORT_MEMBERS = ['Date.now', 'Math.random', 'process.hrtime', 'AbortSignal.timeout']

interface Import {
  readonly specifier: string
  /** What is taken by name; undefined when it is something else, or everything. */
  readonly names: readonly (string | undefined)[]
  readonly typeOnly: boolean
  readonly line: number
}

export function layerFindings(files: readonly SourceFile[]): Finding<LayerRule>[] {
  const findings: Finding<LayerRule>[] = []
  const graph = new Map<string, readonly string[]>()
  for (const file of files.filter((each) => isCode(each.path))) {
    const parsed = parseModule(file)
    const imports = importsOf(parsed)
    const find: Find = (rule, line, message) =>
      findings.push({ rule, path: file.path, line, message })
    checkImports(file.path, imports, find)
    if (within(file.path, EXAMPLES.owns)) continue
    checkSyntax(file.path, parsed, find)
    graph.set(
      file.path,
      imports.flatMap((each) => resolve(file.path, each.specifier) ?? []),
    )
  }
  return [...findings, ...cycles(graph)]
}

type Find = (rule: LayerRule, line: number, message: string) => void

function isCode(path: string): boolean {
  return /^(?:src|adapters|examples)\/.*\.ts$/.test(path)
}

function within(path: string, places: readonly string[]): boolean {
  return places.some((place) => (place.endsWith('/') ? path.startsWith(place) : path === place))
}

function resolve(from: string, specifier: string): string | undefined {
  return specifier.startsWith('.') ? posix.join(posix.dirname(from), specifier) : undefined
}

function importsOf({ module, walk, lineAt }: ParsedModule): Import[] {
  const imports: Import[] = module.staticImports.map((each) => ({
    specifier: each.moduleRequest.value,
    names: each.entries.map(({ importName }) => importName.name ?? undefined),
    typeOnly: each.entries.length > 0 && each.entries.every((entry) => entry.isType),
    line: lineAt(each.start),
  }))
  for (const { entries } of module.staticExports) {
    for (const { moduleRequest, importName, isType, start } of entries) {
      if (moduleRequest === null) continue
      imports.push({
        specifier: moduleRequest.value,
        names: [importName.name ?? undefined],
        typeOnly: isType,
        line: lineAt(start),
      })
    }
  }
  walk((node) => {
    const source = node.type === 'ImportExpression' || node.type === 'TSImportType'
    if (!source || node.source.type !== 'Literal') return
    const typeOnly = node.type === 'TSImportType'
    const specifier = String(node.source.value)
    imports.push({ specifier, names: [undefined], typeOnly, line: lineAt(node.start) })
  })
  return imports
}

function checkImports(path: string, imports: readonly Import[], find: Find): void {
  const unit = [...UNITS, EXAMPLES].find((each) => within(path, each.owns))
  if (unit === undefined) {
    find('unknown-unit', 1, 'has no place in the layer table')
    return
  }
  for (const each of imports) {
    const { specifier, typeOnly, line } = each
    const target = resolve(path, specifier)
    if (target !== undefined) {
      const allowed = typeOnly ? [...unit.imports, ...(unit.importsTypes ?? [])] : unit.imports
      if (!within(target, allowed)) find('layer', line, `may not import ${target}`)
    } else if (unit === EXAMPLES) {
      // Examples run as a user's program would: any package, any module of Node.
    } else if (isBuiltin(specifier)) {
      checkBuiltin(path, each, find)
    } else if (!(unit.packages ?? []).includes(packageOf(specifier))) {
      find('package', line, `may not import the package ${specifier}`)
    }
  }
}

function checkBuiltin(path: string, { specifier, names, line }: Import, find: Find): void {
  const name = specifier.replace(/^node:/, '')
  if (within(path, ['src/protocol/'])) find('pure-protocol', line, `imports ${specifier}`)
  if (/^fs(?:\/|$)/.test(name) && !within(path, FILE_SYSTEM)) {
    find('file-system', line, `only the log reads and writes files, this imports ${specifier}`)
  }
  if (NETWORK_MODULES.includes(name) && !within(path, [...NETWORK, 'adapters/'])) {
    find('network', line, `only the live coordinator's socket uses ${specifier}`)
  }
  const pure = names.every((each) => PURE_MEMBERS.includes(each ?? ''))
  if (PORT_MODULES.includes(name) && usesPorts(path) && !pure) {
    find('ports', line, `takes time or chance from ${specifier}, past the ports of src/clock.ts`)
  }
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

function usesPorts(path: string): boolean {
  return path.startsWith('src/') && !within(path, OWN_CLOCK)
}

function checkSyntax(path: string, parsed: ParsedModule, find: Find): void {
  parsed.walk((node, parent) => {
    const line = parsed.lineAt(node.start)
    if (node.type === 'TSEnumDeclaration') find('enum', line, 'an enum; use a union of literals')
    if (node.type === 'ExportAllDeclaration') find('export-star', line, 'name what is exported')
    if (node.type === 'ExportDefaultDeclaration') find('default-export', line, 'give it a name')
    if (node.type === 'ExportSpecifier' && nameOf(node.exported) === 'default') {
      find('default-export', line, 'give it a name')
    }
    if (parent?.type === 'Program' && within(path, RE_EXPORTS_ONLY) && !isReExport(node)) {
      find('re-exports-only', line, 'holds re-exports and nothing else')
    }
    if (within(path, ['src/protocol/']) && isAsync(node)) {
      find('pure-protocol', line, 'is asynchronous')
    }
    const port = usesPorts(path) ? portTouched(node, parent) : undefined
    if (port !== undefined && !(port === 'setImmediate' && within(path, ['src/log/']))) {
      find('ports', line, `uses ${port}, past the ports of src/clock.ts`)
    }
  })
}

function isReExport(node: Node): boolean {
  if (node.type !== 'ExportNamedDeclaration') return false
  return node.source !== null || (node.declaration === null && node.specifiers.length === 0)
}

function isAsync(node: Node): boolean {
  if (node.type === 'AwaitExpression') return true
  if (node.type === 'Identifier') return node.name === 'Promise'
  return 'async' in node && node.async
}

/** The clock, timer or source of chance that a node takes past its port. */
function portTouched(node: Node, parent: Node | undefined): string | undefined {
  if (node.type === 'NewExpression' || node.type === 'CallExpression') {
    const readsNow = nameOf(node.callee) === 'Date' && node.arguments.length === 0
    return readsNow ? 'the current Date' : undefined
  }
  if (node.type === 'MemberExpression') {
    const member = `${nameOf(node.object)}.${nameOf(node.property)}`
    return PORT_MEMBERS.includes(member) ? member : undefined
  }
  if (node.type !== 'Identifier' || !PORT_GLOBALS.includes(node.name)) return undefined
  return isName(node, parent) ? undefined : node.name
}

/** True for an identifier that names a member of something, other than of the global object. */
function isName(node: Node, parent: Node | undefined): boolean {
  if (parent?.type === 'MemberExpression') {
    return parent.property === node && !parent.computed && nameOf(parent.object) !== 'globalThis'
  }
  return parent !== undefined && 'key' in parent && parent.key === node
}

function nameOf(node: Node): string | undefined {
  if (node.type === 'Identifier') return node.name
  return node.type === 'Literal' ? String(node.value) : undefined
}

function cycles(graph: ReadonlyMap<string, readonly string[]>): Finding<LayerRule>[] {
  const findings: Finding<LayerRule>[] = []
  const done = new Set<string>()
  const trail: string[] = []
  const visit = (path: string): void => {
    const start = trail.indexOf(path)
    if (start >= 0) {
      const knot = [...trail.slice(start), path].join(' -> ')
      findings.push({ rule: 'cycle', path, line: 1, message: knot })
    }
    if (start >= 0 || done.has(path)) return
    trail.push(path)
    for (const next of graph.get(path) ?? []) visit(next)
    trail.pop()
    done.add(path)
  }
  for (const path of graph.keys()) visit(path)
  return findings
}

if (isMain(import.meta.url)) {
  const files = readRepository().filter((file) => isCode(file.path))
  report('layers', layerFindings(files), files.length)
}
