/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Backups of one disk "vda" of VM "web01" in a repository of its own, beside a model in memory of what the disk held. Functions
 * that return gboolean can be told to fail by a fault and set an error; the others end the test.
 */
#pragma once

#include "repository.h"
#include "suite.h"

#define KIB 1024u
#define MIB (1024u * 1024u)

/* A path in a temporary folder where nothing is yet. (transfer full) */
char *scene_path (void);
/* @options may be NULL. (transfer full) */
BkRepository *scene_create (const char *path, const BkRepositoryOptions *options);
BkRepository *scene_open (const char *path, const BkRepositorySecret *secret);

/* A disk of @size zeroes; (transfer full), as are all models. */
GByteArray *scene_disk (size_t size);
GByteArray *scene_copy (const GByteArray *model);
/* Fills a range: by bytes that do not compress and that only this @seed gives, by text, or by zeroes. */
void scene_fill_random (GByteArray *model, size_t offset, size_t length, uint32_t seed);
void scene_fill_text (GByteArray *model, size_t offset, size_t length, uint32_t seed);
void scene_fill_zero (GByteArray *model, size_t offset, size_t length);
/* Some of each at places by chance. */
void scene_scribble (GByteArray *model, GRand *rand);
/* Grows with zeroes, or cuts off. */
void scene_resize (GByteArray *model, size_t size);

/* Makes backup @id of @model; with @base (and @old, what that held) only what differs is written. @counters may be NULL. */
gboolean scene_backup (BkRepository *repository, const char *id, const GByteArray *model, const char *base, const GByteArray *old,
                       BkRepositoryDisk *counters, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* scene_backup() that must go well. */
void scene_must_backup (BkRepository *repository, const char *id, const GByteArray *model, const char *base, const GByteArray *old,
                        BkRepositoryDisk *counters);

/* Reads the whole disk by its extents; what is not CLEAN must be as in @model. CORRUPT where it cannot be read. */
gboolean scene_compare (BkRepository *repository, const char *id, const GByteArray *model, const char *base, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void scene_assert_content (BkRepository *repository, const char *id, const GByteArray *model);
/* The IDs that are listed, in order, with a space between them, are @wanted. */
void scene_assert_listed (BkRepository *repository, const char *wanted);

void scene_must_delete (BkRepository *repository, const char *id);
/* Without grace. */
void scene_must_gc (BkRepository *repository, BkRepositoryGc *result);
