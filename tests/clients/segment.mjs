// Segment's client for Node, unchanged, pointed at the bridge: node segment.mjs http://127.0.0.1:8080 KEY
import { Analytics } from '@segment/analytics-node'

const [, , host, writeKey] = process.argv
const analytics = new Analytics({ writeKey, host, flushAt: 10 })
const failed = []
analytics.on('error', (error) => failed.push(String(error.code ?? error)))

analytics.identify({ userId: 'node-user', traits: { plan: 'pro' } })
analytics.track({ userId: 'node-user', event: 'Product Added', properties: { sku: 'b-42' } })
analytics.page({ userId: 'node-user', name: 'Home', properties: { path: '/' } })
analytics.screen({ userId: 'node-user', name: 'Start' })
analytics.group({ userId: 'node-user', groupId: 'acme', traits: { plan: 'enterprise' } })
analytics.alias({ userId: 'node-user', previousId: 'visitor-3' })
await analytics.closeAndFlush({ timeout: 10_000 })
if (failed.length) {
  console.error(failed.join('\n'))
  process.exit(1)
}
