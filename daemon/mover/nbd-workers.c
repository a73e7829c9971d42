/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-workers.h"

void
bk_nbd_workers_init (BkNbdWorkers *workers, const BkNbdAddress *address)
{
  *workers = (BkNbdWorkers){ .interrupt = bk_nbd_interrupt_new () };
  bk_nbd_address_copy (&workers->address, address);
}

void
bk_nbd_workers_clear (BkNbdWorkers *workers)
{
  for (unsigned i = 0; workers->own && i < workers->n; i++)
    bk_nbd_connection_free (workers->own[i]);
  g_free (workers->own);
  bk_nbd_connection_free (workers->main);
  bk_nbd_interrupt_free (workers->interrupt);
  bk_nbd_address_clear (&workers->address);
}

gboolean
bk_nbd_workers_open (BkNbdWorkers *workers, unsigned n, unsigned spare, GCancellable *cancellable, GError **error)
{
  if (!bk_nbd_connection_can_multi (workers->main)) {
    bk_nbd_connection_set_lanes (workers->main, n + spare);
    return TRUE;
  }
  workers->own = g_new0 (BkNbdConnection *, n);
  workers->n = n;
  for (unsigned i = 0; i < n; i++) {
    workers->own[i] = bk_nbd_connection_new (&workers->address, NULL, workers->interrupt, cancellable, error);
    if (workers->own[i] == NULL)
      return FALSE;
  }
  return TRUE;
}

/* Alone on its connection, a worker has lane 0. */
BkNbdConnection *
bk_nbd_workers_connection (const BkNbdWorkers *workers, unsigned worker, unsigned *lane)
{
  *lane = workers->own ? 0 : worker;
  return workers->own ? workers->own[worker] : workers->main;
}
