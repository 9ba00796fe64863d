/** Where messages of the two wire protocols begin and end, however the network cuts them. */
import { expect, test } from 'vitest'
import {
  MysqlConversation,
  PostgresConversation,
} from '../../../adapters/contract/wire-protocol.ts'

/** PostgreSQL: type, length, body. */
function message(type: string, body: string): Buffer {
  const bytes = Buffer.alloc(5 + body.length)
  bytes.write(type, 0, 'latin1')
  bytes.writeInt32BE(4 + body.length, 1)
  bytes.write(body, 5, 'latin1')
  return bytes
}

function startup(): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeInt32BE(8, 0)
  bytes.writeInt32BE(3 << 16, 4)
  return bytes
}

/** MySQL: length, sequence, payload. */
function packet(sequence: number, ...payload: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 + payload.length)
  bytes.writeUIntLE(payload.length, 0, 3)
  bytes.writeUInt8(sequence, 3)
  Buffer.from(payload).copy(bytes, 4)
  return bytes
}

function command(text: string): Buffer {
  return packet(0, 0x03, ...Buffer.from(text))
}

const MORE = 0x08
const ok = (sequence: number, status: number): Buffer => packet(sequence, 0, 0, 0, status, 0, 0, 0)
const eof = (sequence: number, status: number): Buffer => packet(sequence, 0xfe, 0, 0, status, 0)

test('a simple query that comes in two pieces is one message, and is answered once', () => {
  const talk = new PostgresConversation()
  talk.fromClient(startup())
  talk.fromServer(message('Z', 'I'))
  const bytes = message('Q', "PREPARE TRANSACTION 'x'")
  expect(talk.fromClient(bytes.subarray(0, 9))).toEqual([])
  expect(talk.fromClient(bytes.subarray(9))).toEqual([{ bytes, asks: true }])
  talk.fromServer(message('C', 'PREPARE TRANSACTION'))
  expect(talk.owed).toBe(1)
  talk.fromServer(message('Z', 'I'))
  expect(talk.owed).toBe(0)
})

test('an extended query is held in one piece, up to its Sync', () => {
  const talk = new PostgresConversation()
  talk.fromClient(startup())
  talk.fromServer(message('Z', 'I'))
  const bytes = Buffer.concat(['P', 'B', 'E', 'S'].map((type) => message(type, 'select 1')))
  expect(talk.fromClient(bytes)).toEqual([{ bytes, asks: true }])
  expect(talk.owed).toBe(1)
})

test('statements in one text are answered when the last of them is', () => {
  const talk = new MysqlConversation()
  talk.fromClient(command('XA END x; XA PREPARE x'))
  talk.fromServer(ok(1, MORE))
  expect(talk.owed).toBe(1)
  talk.fromServer(ok(2, 0))
  expect(talk.owed).toBe(0)
})

test('rows end with their EOF, and an error ends everything', () => {
  const talk = new MysqlConversation()
  const rows = Buffer.concat([packet(1, 1), packet(2, 3, 100), eof(3, 0), packet(4, 1, 49)])
  talk.fromClient(command('select 1'))
  talk.fromServer(rows)
  expect(talk.owed).toBe(1)
  talk.fromServer(eof(5, 0))
  expect(talk.owed).toBe(0)
  talk.fromClient(command('select 1; select 2'))
  talk.fromServer(Buffer.concat([rows, eof(5, MORE)]))
  expect(talk.owed).toBe(1)
  talk.fromServer(packet(6, 0xff, 0x15, 0x04))
  expect(talk.owed).toBe(0)
})

test('a command that is never answered owes nothing', () => {
  const talk = new MysqlConversation()
  const close = packet(0, 0x19, 1, 0, 0, 0)
  expect(talk.fromClient(close)).toEqual([{ bytes: close, asks: false }])
  expect(talk.owed).toBe(0)
})
