/** What the command line needs: the same log and the same participants as the service. */
import { defineConfig } from 'unanimous'
import { decisions, endPools, participants } from './databases.ts'

export default defineConfig({ log: decisions, participants, close: endPools })
