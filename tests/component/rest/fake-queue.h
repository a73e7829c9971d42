/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the files of the queue that runs nothing share.
 */
#pragma once

#include "queue.h"

struct BkQueue {
  BkCatalog *catalog;
  BkVmRegistry *vms;
  BkRepositoryRegistry *repositories;
  BkEventRing *events;
  GPtrArray *jobs;    /* BkJobInfo, oldest first */
  GPtrArray *trash;   /* BkBackupInfo */
  GHashTable *pinned; /* set of IDs */
  GPtrArray *exports; /* oldest first; see fake-exports.c */
};

/* For queue->exports. */
void fake_export_free (gpointer export);
