/**
 * A self-made certificate for 127.0.0.1 and localhost, good for a day: X.509 v3, ECDSA P-256, its
 * own authority. Node makes keys and signatures; the few structures around them are spelled here.
 */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'

export interface Certificate {
  /** PEM; also what a client is given as `ca`. */
  readonly certificate: string
  readonly key: string
}

const ECDSA_SHA256 = '1.2.840.10045.4.3.2'
const COMMON_NAME = '2.5.4.3'
const BASIC_CONSTRAINTS = '2.5.29.19'
const SUBJECT_ALT_NAME = '2.5.29.17'
const DAY_MS = 24 * 60 * 60 * 1000

export function makeCertificate(): Certificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = sequence(oid(ECDSA_SHA256))
  const name = sequence(set(sequence(oid(COMMON_NAME), tag(0x0c, Buffer.from('localhost')))))
  const now = Date.now()
  const body = sequence(
    tag(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    algorithm,
    name,
    sequence(utcTime(now - DAY_MS), utcTime(now + DAY_MS)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    tag(0xa3, sequence(authority(), alternativeNames())),
  )
  const signature = sign('sha256', body, privateKey)
  const der = sequence(body, algorithm, tag(0x03, Buffer.from([0]), signature))
  const lines = der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')
  return {
    certificate: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

function authority(): Buffer {
  const isAuthority = sequence(tag(0x01, Buffer.from([0xff])))
  return sequence(oid(BASIC_CONSTRAINTS), tag(0x01, Buffer.from([0xff])), tag(0x04, isAuthority))
}

function alternativeNames(): Buffer {
  const names = sequence(
    tag(0x82, Buffer.from('localhost')),
    tag(0x87, Buffer.from([127, 0, 0, 1])),
  )
  return sequence(oid(SUBJECT_ALT_NAME), tag(0x04, names))
}

function tag(number: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([number, ...size]), content])
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tag(0x30, ...parts)
}

function set(...parts: readonly Buffer[]): Buffer {
  return tag(0x31, ...parts)
}

function integer(bytes: Buffer): Buffer {
  return tag(0x02, bytes)
}

function utcTime(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '')
  return tag(0x17, Buffer.from(digits.slice(2)))
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const part of rest) {
    const groups = [part & 0x7f]
    for (let left = part >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80)
    bytes.push(...groups)
  }
  return tag(0x06, Buffer.from(bytes))
}
