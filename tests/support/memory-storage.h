/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A storage in memory: what a store of objects without folders is like.
 */
#pragma once

#include "storage.h"

BkStorage *memory_storage_new (void);
