/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake-backend.h"

typedef struct {
  BkBackend base;
  BkLink link;
  char *reason;
  BkVmState *state;
  unsigned delay_ms;
} Fake;

static Fake *last;
static unsigned count;

static void
fake_connect (BkBackend *backend G_GNUC_UNUSED)
{
}

static void
fake_disconnect (BkBackend *backend)
{
  ((Fake *)backend)->link = BK_LINK_DOWN;
}

static void
fake_free (BkBackend *backend)
{
  Fake *fake = (Fake *)backend;
  if (last == fake)
    last = NULL;
  count--;
  g_clear_pointer (&fake->state, bk_vm_state_free);
  g_free (fake->reason);
  g_free (fake);
}

static BkLink
fake_link (BkBackend *backend, char **reason, char **version)
{
  Fake *fake = (Fake *)backend;
  if (reason)
    *reason = g_strdup (fake->reason);
  if (version)
    *version = fake->link == BK_LINK_READY ? g_strdup ("7.2.0") : NULL;
  return fake->link;
}

static BkVmState *
fake_inspect (BkBackend *backend, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Fake *fake = (Fake *)backend;
  g_usleep (fake->delay_ms * 1000);
  if (fake->state == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "nobody answers");
  return g_steal_pointer (&fake->state);
}

BkBackend *
bk_qmp_backend_new (const char *socket_path G_GNUC_UNUSED)
{
  static const BkBackendOps ops = {
    .name = "fake",
    .connect = fake_connect,
    .disconnect = fake_disconnect,
    .free = fake_free,
    .link = fake_link,
    .inspect = fake_inspect,
  };
  Fake *fake = g_new0 (Fake, 1);
  fake->base.ops = &ops;
  fake->link = BK_LINK_CONNECTING;
  last = fake;
  count++;
  return &fake->base;
}

BkBackend *
bk_fake_backend_last (void)
{
  return (BkBackend *)last;
}

unsigned
bk_fake_backend_count (void)
{
  return count;
}

void
bk_fake_backend_set_link (BkBackend *backend, BkLink link, const char *reason, const char *event)
{
  Fake *fake = (Fake *)backend;
  fake->link = link;
  g_free (fake->reason);
  fake->reason = g_strdup (reason);
  if (backend->notify)
    backend->notify (backend, link, event, backend->notify_data);
}

void
bk_fake_backend_set_state (BkBackend *backend, BkVmState *state, unsigned delay_ms)
{
  Fake *fake = (Fake *)backend;
  g_clear_pointer (&fake->state, bk_vm_state_free);
  fake->state = state;
  fake->delay_ms = delay_ms;
}
