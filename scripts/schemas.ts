/**
 * Writes dist/schemas, a part of the package: a JSON Schema for the output of each command. Published,
 * they allow further fields, for fields are added within a version; the test is stricter.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { OUTPUTS, type OutputName } from './schemas/outputs.ts'
import { isMain, ROOT } from './source-tree.ts'

export const OUTPUT_NAMES = Object.keys(OUTPUTS) as OutputName[]

/** @param further - whether fields that the schema does not name are allowed */
export function jsonSchema(name: OutputName, further: 'allowed' | 'refused'): object {
  const schema = z.toJSONSchema(OUTPUTS[name], {
    io: further === 'allowed' ? 'input' : 'output',
    // A format says the same as its pattern, and readers know it.
    override: ({ jsonSchema: part }) => {
      if (part.format === 'date-time') delete part.pattern
    },
  })
  return { title: `unanimous ${name.replace('log-', 'log ')} --json`, ...schema }
}

async function write(): Promise<void> {
  const folder = join(ROOT, 'dist/schemas')
  await mkdir(folder, { recursive: true })
  for (const name of OUTPUT_NAMES) {
    const text = `${JSON.stringify(jsonSchema(name, 'allowed'), null, 2)}\n`
    await writeFile(join(folder, `${name}.json`), text)
  }
}

if (isMain(import.meta.url)) await write()
