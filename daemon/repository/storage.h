/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where the objects of a repository rest: the whole of what a repository asks of a file system, or of anything else that keeps
 * objects under names. A driver fills a BkStorageOps; file-storage.c is the one for folders.
 *
 * Names are paths with "/", without "." and "..", and without a component that begins with a dot. An object becomes visible
 * as a whole or not at all, and what a function has returned TRUE for outlives a crash of the machine, unless it says
 * otherwise. There is one process that writes; any number read beside it.
 *
 * Threads: any. Errors: NOT_FOUND, CONFLICT, NO_SPACE, DENIED, UNREACHABLE, FAILED (I/O), with the name as users know it in the message.
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct BkStorage BkStorage;
typedef struct BkStorageDraft BkStorageDraft;

typedef struct {
  char *name;    /* the last component */
  uint64_t size; /* of an object; 0 of a folder */
  bool is_folder;
} BkStorageItem;

typedef struct {
  gboolean (*put) (BkStorage *storage, const char *name, const void *data, size_t length, bool durable, GError **error);
  gboolean (*get) (BkStorage *storage, const char *name, size_t limit, char **data, size_t *length, GError **error);
  gboolean (*read) (BkStorage *storage, const char *name, uint64_t offset, void *out, size_t length, GError **error);
  bool (*has) (BkStorage *storage, const char *name);
  GPtrArray *(*list) (BkStorage *storage, const char *folder, GError **error);
  gboolean (*move) (BkStorage *storage, const char *from, const char *to, GError **error);
  gboolean (*remove) (BkStorage *storage, const char *name, GError **error);
  gboolean (*tidy) (BkStorage *storage, int64_t before, uint64_t *removed, GError **error);
  BkStorageDraft *(*draft) (BkStorage *storage, const char *name, GError **error);
  void (*free) (BkStorage *storage);
} BkStorageOps;

struct BkStorage {
  const BkStorageOps *ops;
};

void bk_storage_free (BkStorage *storage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkStorage, bk_storage_free)

/* Keeps @data as object @name, in place of one that is there. @durable FALSE: a crash of the machine may undo it. */
gboolean bk_storage_put (BkStorage *storage, const char *name, const void *data, size_t length, bool durable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A whole object, NUL-terminated behind its content; (transfer full). CORRUPT when it is larger than @limit. */
gboolean bk_storage_get (BkStorage *storage, const char *name, size_t limit, char **data, size_t *length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A part of an object that is never changed: it may be kept open. CORRUPT behind its end. One that was removed while it was
 * read may be given on, or be NOT_FOUND. */
gboolean bk_storage_read (BkStorage *storage, const char *name, uint64_t offset, void *out, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool bk_storage_has (BkStorage *storage, const char *name);
/* What is in a folder, without order: BkStorageItem, (transfer full). NOT_FOUND: there is no such folder; a storage that has no
 * folders gives an empty list. */
GPtrArray *bk_storage_list (BkStorage *storage, const char *folder, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* CONFLICT: @to is there. */
gboolean bk_storage_move (BkStorage *storage, const char *from, const char *to, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* One that is not there is success. */
gboolean bk_storage_remove (BkStorage *storage, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Removes what crashes have left half-made, if it is older than @before (microseconds); adds to *@removed. */
gboolean bk_storage_tidy (BkStorage *storage, int64_t before, uint64_t *removed, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- large objects, made bit by bit --- */

typedef struct {
  gboolean (*append) (BkStorageDraft *draft, const void *data, size_t length, GError **error);
  gboolean (*read) (BkStorageDraft *draft, uint64_t offset, void *out, size_t length, GError **error);
  gboolean (*publish) (BkStorageDraft *draft, GError **error);
  void (*free) (BkStorageDraft *draft);
} BkStorageDraftOps;

struct BkStorageDraft {
  const BkStorageDraftOps *ops;
};

/* Of a name that is not there. @storage must outlive it. No locks: its owner has them; but publish may go on beside read. */
BkStorageDraft *bk_storage_draft (BkStorage *storage, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_storage_draft_append (BkStorageDraft *draft, const void *data, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* What was appended. */
gboolean bk_storage_draft_read (BkStorageDraft *draft, uint64_t offset, void *out, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* It becomes an object. CONFLICT: the name is taken. */
gboolean bk_storage_draft_publish (BkStorageDraft *draft, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Unless it was published nothing of it remains. */
void bk_storage_draft_free (BkStorageDraft *draft);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkStorageDraft, bk_storage_draft_free)

void bk_storage_item_free (BkStorageItem *item);

/* --- drivers --- */

/* A folder of a file system that has fsync and atomic rename (file-storage.c). */
BkStorage *bk_file_storage_new (const char *root);
