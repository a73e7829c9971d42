/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The connections of the workers of a reader or sink to one NBD export: one each where the server allows several, else the first
 * for all, on which each has a lane.
 */
#pragma once

#include "nbd-connection.h"

typedef struct {
  BkNbdAddress address; /* a copy */
  BkNbdInterrupt *interrupt;
  BkNbdConnection *main; /* the first; made and exchanged by the owner */
  BkNbdConnection **own; /* of each worker; NULL = main */
  unsigned n;
} BkNbdWorkers;

/* Without a connection yet. */
void bk_nbd_workers_init (BkNbdWorkers *workers, const BkNbdAddress *address);
/* Frees them, main as well. */
void bk_nbd_workers_clear (BkNbdWorkers *workers);

/* For workers 0 ... @n - 1. @spare: lanes behind theirs, for the owner, where they share main. */
gboolean bk_nbd_workers_open (BkNbdWorkers *workers, unsigned n, unsigned spare, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* (transfer none) */
BkNbdConnection *bk_nbd_workers_connection (const BkNbdWorkers *workers, unsigned worker, unsigned *lane);
