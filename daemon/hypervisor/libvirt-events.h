/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The event loop that libvirt is given: a main context of its own, run by one thread, for all connections. (libvirt's
 * default one runs the process's default main context, which is the daemon's.)
 */
#pragma once

typedef struct BkLibvirtEvents BkLibvirtEvents;

/* Once in a process, before the first connection is opened: libvirt keeps it for ever. Returns the one that there is. */
BkLibvirtEvents *bk_libvirt_events_get (void);

/* Begins and ends its thread. What is to happen meanwhile happens when it runs again. */
void bk_libvirt_events_start (BkLibvirtEvents *events);
void bk_libvirt_events_stop (BkLibvirtEvents *events);
