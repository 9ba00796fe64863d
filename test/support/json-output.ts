/**
 * What a command printed with `--json`, held to its published schema, and to the stricter one that
 * refuses a field which the schema does not name.
 */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { expect } from 'vitest'
import type { OutputName } from '../../scripts/schemas/outputs.ts'
import { jsonSchema } from '../../scripts/schemas.ts'

const ajv = new Ajv2020({
  allErrors: true,
  formats: { 'date-time': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/ },
})
const compiled = new Map<OutputName, readonly ValidateFunction[]>()

/** Holds one object to the schemas of its command. */
export function expectOutput(name: OutputName, text: string): void {
  const schemas = compiled.get(name) ?? [
    ajv.compile(jsonSchema(name, 'allowed')),
    ajv.compile(jsonSchema(name, 'refused')),
  ]
  compiled.set(name, schemas)
  const output: unknown = JSON.parse(text)
  for (const isValid of schemas) {
    expect(isValid(output), `${name}: ${ajv.errorsText(isValid.errors)}\n${text}`).toBe(true)
  }
}
