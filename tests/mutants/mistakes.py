"""Mistakes in a student's words, and the mutants that make them.

A sentence completes “behaves like: …” and names the cause, not what is seen of it. It is true of
every mutant beside it. A mutant is named as ``Component.name``, or as ``name`` where all components
that have it make the same mistake. Generated mutants are told by rules: what is found in
``Component: unit, operator: before -> after``. A rule says only what is true of all that it finds.
Many mutants are nobody's everyday mistake and have no sentence.
"""

from __future__ import annotations

import re
from functools import cache

from tests.mutants import Mutant

__all__ = ["MISTAKES", "RULES", "mistake_of", "subject"]

_change = re.compile

MISTAKES: dict[str, tuple[str | re.Pattern[str], ...]] = {
    # --- Scores --------------------------------------------------------------------------------
    "the scores are not divided by the root of the width": (
        "scaled_dot_product_attention.without_a_scale",
        "SelfAttention.ScaleForgotten",
        "SelfAttention.UnscaledWithAFusedProjection",
        "MultiHeadAttention.ListsOfHeadsWithoutAScale",
        "MultiHeadAttention.TheScaleIsLeftAtOne",
        _change(r", scale: query @ key\.mT / .* -> query @ key\.mT$"),
    ),
    "the scores are divided by the width and not by its root": (
        "scaled_dot_product_attention.divided_by_the_width",
        "scaled_dot_product_attention.scaled_twice",
        "SelfAttention.ScaledByTheWidthItself",
        _change(r", scale: math\.sqrt\(d_k\) -> d_k$"),
    ),
    "the scores are multiplied by the root of the width where they should be divided by it": (
        "scaled_dot_product_attention.multiplied_by_the_root_of_the_width",
        "MultiHeadAttention.DividedByTheScale",
        _change(r", scale: query @ key\.mT / .* -> query @ key\.mT \* "),
    ),
    "the scores are divided by the root of the model's width and not of a head's": (
        "MultiHeadAttention.FusedAndScaledByTheModelsWidth",
        "MultiHeadAttention.ScaledByTheModelsWidth",
    ),
    "the scores are divided by the root of another size than the width of the keys": (
        "scaled_dot_product_attention.divided_by_the_root_of_the_number_of_keys",
        "SelfAttention.ScaledByTheLength",
        "AdditiveAttention.TheTemperatureGrowsWithTheMemory",
        "softmax.a_temperature_is_left_in",
        "scaled_dot_product_attention.divided_by_the_root_of_the_values_width",
        "scaled_dot_product_attention.the_scale_is_that_of_width_64",
        "MultiHeadAttention.ScaledByTheNumberOfHeads",
        _change(r", scale: query\.shape"),
    ),
    "the scores of an attention that has no scale are divided by the root of a width": (
        "AdditiveAttention.ScaledLikeADotProduct",
        "MultiplicativeAttention.ScaledByTheWidth",
        "MultiplicativeAttention.ScaledBilinear",
    ),
    "the scores are cosines or distances and not dot products": (
        "scaled_dot_product_attention.scored_by_the_cosine",
        "CosinesInsteadOfDotProducts",
        "scaled_dot_product_attention.scored_by_distance",
        "DistancesInsteadOfDotProducts",
        "SelfAttention.DistancesOfQueries",
    ),
    "the scores prefer keys that are near the query": (
        "scaled_dot_product_attention.near_keys_are_preferred",
        "BonusForNearKeys",
        "SelfAttention.BonusForNearTokens",
        "MultiHeadAttention.HeadsWithSlopes",
    ),
    "the query has no part in the scores": (
        "scaled_dot_product_attention.the_query_is_not_used",
        "AdditiveAttention.TheQueryIsNotUsed",
        "QueryIgnored",
        "MultiplicativeAttention.FixedContext",
        "AttentionSeq2Seq.WeightsIgnoreTheDecoder",
        "AttentionSeq2Seq.TheMeanForAttention",
        "FeedForward.AttentionIsTheSameForEveryQuery",
        _change(r"additive_score, dropped: query.* -> key"),
        _change(r"_score, constant_result: "),
    ),
    "the keys have no part in the scores": (
        "AttentionSeq2Seq.WeightsIgnoreTheEncoder",
        "AttentionSeq2Seq.PlacesAreScoredByTheDecoderAlone",
        _change(r"additive_score, dropped: query.* -> query"),
    ),
    "the queries are taken from the keys": (
        _change(r", swap: query @ key\.mT -> key @ key"),
        _change(r", swap: .* -> \w*_score\(key, key"),
        _change(r", swap: self\.query\(query\) -> self\.query\(key\)"),
        _change(r", swap: split_heads\(query.* -> split_heads\(key"),
        _change(r", swap: .* -> multiplicative_attention\(key, "),
    ),
    "queries and keys change places": (
        _change(r", swap: .* -> \w*_score\(key, query"),
        _change(r", swap: .* -> \w+\(self\.key\(key\), (self\.query\()?query"),
        _change(r", swap: .* -> .*(x @ key_weight\.mT, x @ |self\.key\.weight, self\.)query"),
        _change(r", swap: self\.attention\(state.* -> .*\(memory, state"),
        _change(r", swap: self\.cross_attention.* -> .*\(memory, x"),
        _change(r", swap: .* -> .*\(keys, own\.query"),
    ),
    "the keys are not transposed in their product with the queries": (
        _change(r", transpose_dropped: key\.mT"),
    ),
    "the tanh is in the wrong place": (
        "AdditiveAttention.TanhAfterTheEnergy",
        "AdditiveAttention.TanhBeforeTheSum",
    ),
    "the tanh is missing or is another function": (
        "AdditiveAttention.ReluForTanh",
        "AdditiveAttention.SigmoidOverOneMatrix",
        "AdditiveAttention.WithoutTanh",
        _change(r"additive_score, dropped: torch\.tanh"),
    ),
    # --- Softmax -------------------------------------------------------------------------------
    "the softmax runs over the queries": (
        "scaled_dot_product_attention.softmax_over_the_queries",
        "AdditiveAttention.SoftmaxOverTheQueries",
        "SoftmaxOverQueries",
    ),
    "the softmax runs over the batch": ("SoftmaxOverTheBatch",),
    "the softmax runs over several axes at once": (
        "softmax.over_all_entries",
        "scaled_dot_product_attention.softmax_over_all_pairs",
        "scaled_dot_product_attention.softmax_over_the_batch_and_the_queries",
        "MultiplicativeAttention.SoftmaxOverAllPairs",
        "MultiHeadAttention.SoftmaxOverHeadsAndKeys",
    ),
    "the softmax runs over a wrong axis": (
        "softmax.always_over_the_last_axis",
        "softmax.a_negative_axis_is_off_by_one",
        "AdditiveAttention.SoftmaxOverTheOneEnergy",
        "MultiHeadAttention.SoftmaxOverHeads",
        _change(r": softmax, default: "),
        _change(r": softmax, axis: exponentials\.sum.*sum\((-1|0)"),
    ),
    "each key is weighed by a sigmoid of its own": (
        "scaled_dot_product_attention.sigmoids_are_not_normalised",
        "AdditiveAttention.SigmoidsAreNotNormalised",
        "SelfAttention.SigmoidsInsteadOfSoftmax",
    ),
    "the weights come from something other than exponentials": (
        "softmax.normalised_sigmoids",
        "scaled_dot_product_attention.sigmoids_are_normalised",
        "LinearWeights",
        "MultiHeadAttention.SumsOfFeaturesInsteadOfAllPairs",
        _change(r": softmax, dropped: torch\.exp"),
    ),
    "the exponentials have base two": ("powers_of_two",),
    "the softmax has something added to its denominator": (
        "one_more_in_the_denominator",
        "OneMoreInTheDenominator",
        "SoftmaxWithAnExtraOne",
        "an_epsilon_in_the_denominator",
        "AdditiveAttention.AnEpsilonInTheDenominator",
        "AnEpsilonUnderMaskedWeights",
    ),
    "the softmax does not subtract the largest score of the row": (
        "exponentials_without_a_shift",
        "softmax.shifted_by_the_mean",
        "softmax.shifted_by_the_largest_of_all_scores",
        "softmax.shifted_by_the_largest_of_all_where_many",
        "softmax.shifted_by_the_largest_score_of_the_last_call",
        "softmax.scores_clamped_against_overflow",
        _change(r": softmax, axis: x\.amax.*amax\((-1|0)"),
        _change(r": softmax, (sign|dropped): x - x\.amax"),
        _change(r": softmax, sign: x\.amax"),
    ),
    "the exponentials are not divided by their sum": (
        _change(r": softmax, scale: exponentials / "),
    ),
    "the sums of the blocks of a long row are put together wrongly": (
        "softmax.blocks_are_not_rescaled",
        "softmax.every_block_is_normalised_by_itself",
        "scaled_dot_product_attention.the_running_sum_is_not_rescaled",
    ),
    "all but the largest weights are set to zero": (
        "scaled_dot_product_attention.the_best_key_takes_everything",
        "AdditiveAttention.TheBestKeyTakesEverything",
        "AttentionSeq2Seq.TheLikeliestPlaceAlone",
        "scaled_dot_product_attention.only_the_two_best_keys_count",
        "AdditiveAttention.OnlyTheTwoBestKeysCount",
        "OnlyTheBestThreeKeys",
        "SelfAttention.OnlyTheBestThreeTokens",
        "small_weights_are_dropped",
    ),
    # --- Values and output ---------------------------------------------------------------------
    "the values are added up and not averaged, so that the output grows with their number": (
        "scaled_dot_product_attention.a_sum_in_place_of_a_mean",
        "AdditiveAttention.ASumInPlaceOfAMean",
        "SumInsteadOfMean",
        "AttentionAddsUp",
    ),
    "a sum leaves out its last entry": (
        "scaled_dot_product_attention.the_last_value_is_left_out",
        "AdditiveAttention.TheLastValueIsLeftOut",
        "LastValueForgotten",
        "softmax.the_sum_leaves_out_the_last_score",
        "LayerNorm.MeanLeavesOutTheLastEntry",
    ),
    "the output and the weights are returned in the wrong order": (
        _change(r", swap: \((weights|heads|self\.output)"),
    ),
    "the weights of an attention are taken for its output": (
        _change(r", index: self\.\w*attention\(.* -> .*\[1\]$"),
    ),
    "the output goes through a nonlinearity": (
        "scaled_dot_product_attention.the_output_goes_through_tanh",
        "AdditiveAttention.TheOutputGoesThroughTanh",
        "MultiplicativeAttention.ContextThroughTanh",
        "MultiHeadAttention.OutputThroughTanh",
        "PatchEmbedding.TokensAreBent",
    ),
    "a residual connection is added inside, which is the layer's to do": (
        "scaled_dot_product_attention.the_query_is_added_to_the_output",
        "scaled_dot_product_attention.queries_pass_by_the_attention",
        "SelfAttention.TokenAddedToItsOutput",
        "MultiHeadAttention.QueryAddedToTheOutput",
        "MultiHeadAttention.TheResidualIsInside",
        "FeedForward.ResidualInside",
    ),
    "the weights that are given back are not the ones that were used": (
        "scaled_dot_product_attention.scores_are_given_for_weights",
        "AdditiveAttention.ScoresAreGivenForWeights",
        "scaled_dot_product_attention.weights_from_before_the_mask",
        "scaled_dot_product_attention.weights_from_before_the_scale",
        "scaled_dot_product_attention.scaled_after_the_softmax",
        "scaled_dot_product_attention.the_output_ignores_the_weights",
        "MultiplicativeAttention.SharpenedWeightsReported",
        "SelfAttention.NeighboursMixed",
        "SelfAttention.TransposedWeightsMix",
        "MultiHeadAttention.AveragedWeightsReported",
        "MultiHeadAttention.FusedAndReportedInReverse",
        "AttentionSeq2Seq.PaddingGetsALittleWeight",
        "AttentionSeq2Seq.SharesThatDoNotAddUp",
        "AttentionSeq2Seq.WeightsAreShownSharper",
        "AttentionSeq2Seq.WeightsAreThoseOfTheNextStep",
        "AttentionSeq2Seq.WeightsOfHalf",
    ),
    # --- Masks ---------------------------------------------------------------------------------
    "the mask is applied after the softmax": (
        "scaled_dot_product_attention.weights_zeroed_and_not_normalised_again",
        "scaled_dot_product_attention.the_mask_comes_after_the_softmax",
        "AdditiveAttention.TheMaskComesAfterTheSoftmax",
        "MaskAfterSoftmax",
        "MaskAfterTheSoftmax",
        "MemoryIsMaskedAfterTheSoftmax",
        "AttentionSeq2Seq.MaskedAfterTheSoftmax",
        _change(r"masked_softmax, mask: mask\.any.* -> mask\.all"),
        _change(r"masked_softmax, mask: scores\.masked_fill.* -> scores$"),
    ),
    "the scores are multiplied by the mask": (
        "scaled_dot_product_attention.scores_are_multiplied_by_the_mask",
        "AdditiveAttention.ScoresAreMultipliedByTheMask",
        "MaskMultipliesScores",
        "ScoresTimesTheMask",
    ),
    "the mask is ignored": (
        "scaled_dot_product_attention.the_mask_is_ignored",
        "AdditiveAttention.TheMaskIsIgnored",
        "MaskDiscarded",
        "SelfAttention.MasksNotApplied",
        "MultiHeadAttention.MaskedScoresAreThrownAway",
        "MaskIsDiscarded",
        "AttentionSeq2Seq.PaddingIsAttendedTo",
        _change(r"mask: masked_softmax.*, None\)$"),
        _change(r"masked_softmax, condition: "),
        _change(r"([ai]ve|Multi[hH]ead|Self)Attention\.forward, mask: .*, None\)$"),
        _change(r": (multi_head|self)_attention, mask: .*, None\)$"),
        _change(r": Encoder(Layer)?\.forward, mask: "),
        _change(r"AttentionSeq2Seq\.(step|_step_over), (mask|condition): .*None\)?$"),
        _change(r"_for_every_query, condition: .* -> None$"),
    ),
    "the mask has the other polarity": (
        "padding_mask.true_at_padding",
        "causal_mask.true_above_the_diagonal",
        "scaled_dot_product_attention.true_means_blocked",
        "AdditiveAttention.TrueMeansBlocked",
        "MaskInverted",
        "MaskIsInverted",
        "MemoryMaskIsInverted",
        "Transformer.TheSourceMaskIsUpsideDown",
        _change(r"padding_mask, off_by_one: .* >=? lengths"),
        _change(r"unroll, off_by_one: t < .* t >=? "),
        _change(r"unroll, mask: .* -> _where\(.*, state, after"),
        _change(r"_where, mask: .* -> torch\.where"),
    ),
    "the mask is transposed, so that queries and keys change places": (
        "causal_mask.the_upper_triangle",
        "scaled_dot_product_attention.a_square_mask_is_transposed",
        "SelfAttention.MaskTransposed",
        "EncoderLayer.TheMaskIsUpsideDown",
        "AMaskOfOneRowHidesQueries",
        _change(r"causal_mask, off_by_one: .*triu"),
    ),
    "a mask that must broadcast is ignored": (
        "scaled_dot_product_attention.a_mask_that_must_broadcast_is_ignored",
        "AdditiveAttention.AMaskThatMustBroadcastIsIgnored",
    ),
    "a mask or lengths that were not passed are used without asking": (
        _change(r"masked_softmax, step_dropped: if mask is None"),
        _change(r"(multi_head_attention|unroll), condition: .* -> if True"),
        _change(r", condition: None if .* -> (?!None$)"),
        _change(r", condition: mask if .* -> mask & "),
    ),
    "masked scores are not made low enough": (
        "scaled_dot_product_attention.a_hundred_is_filled_in_where_masked",
        "scaled_dot_product_attention.ten_is_subtracted_where_masked",
        "scaled_dot_product_attention.ten_thousand_is_filled_in_where_masked",
        "scaled_dot_product_attention.the_smallest_positive_number_is_filled_in",
        "scaled_dot_product_attention.what_is_masked_takes_part_in_the_sum",
        "AdditiveAttention.MinusTenForInfinity",
        "MaskedByMinusAThousand",
        "MaskedByMinusThirty",
        "HiddenByTen",
        _change(r"masked_softmax, mask: scores\.masked_fill.*, (-10000\.0|0\.0)\)$"),
    ),
    "masked scores get a number that half precision cannot hold": (
        "scaled_dot_product_attention.hidden_by_a_constant_beyond_half_precision",
        "HidesWithAConstantBeyondHalfPrecision",
        "HiddenByABillion",
        "EncoderLayer.AHundredMillionInHalfPrecision",
        "MultiHeadAttention.TenBillionInHalfPrecision",
    ),
    "a row with nothing to see is zero over zero": (
        "scaled_dot_product_attention.an_empty_row_is_zero_over_zero",
        "AdditiveAttention.AnEmptyRowIsZeroOverZero",
        "EmptyRowIsNotANumber",
        "NothingToSeeIsNan",
        "NothingToReadIsNan",
    ),
    "a row with nothing to see is repaired after the softmax, which leaves its gradient broken": (
        "scaled_dot_product_attention.only_the_gradient_of_an_empty_row_is_nan",
        "AdditiveAttention.OnlyTheGradientOfAnEmptyRowIsNaN",
        "EmptyRowHasNoGradient",
    ),
    "every item gets the mask of the first": (
        "padding_mask.every_item_is_as_long_as_the_first",
        "scaled_dot_product_attention.every_item_gets_the_first_items_mask",
        "AdditiveAttention.EveryItemGetsTheFirstItemsMask",
        "MaskOfTheFirstItemForAll",
        "EveryItemGetsTheFirstMask",
        "EveryItemGetsTheFirstMemoryMask",
    ),
    "a mask of queries and keys is taken for padding, with one row for all queries": (
        "scaled_dot_product_attention.every_query_gets_the_last_querys_mask",
        "AdditiveAttention.EveryQueryGetsTheLastQuerysMask",
        "MultiplicativeAttention.FirstRowOfAMaskOfTwoDimensions",
        "DecoderLayer.TheFastPathTakesAMaskForPadding",
        "MaskOfTwoDimensionsTakenForPadding",
    ),
    "the masks of the items are dealt out to the wrong items or heads": (
        "scaled_dot_product_attention.masks_are_dealt_out_in_reverse",
        "MultiHeadAttention.MaskOfTheBatchGivenToHeads",
        "MultiHeadAttention.MasksAreNeighboursWhereHeadsComeFirst",
        "MultiHeadAttention.MasksAreTiledWhereHeadsOfAnItemAreNeighbours",
        "MaskIsTiledInTheWrongOrder",
        "MemoryMaskIsTiledInTheWrongOrder",
        _change(r"multi_head_attention, (step_dropped|layout): .*mask"),
    ),
    "the mask does not reach all heads": (
        "OneHeadIsNotMasked",
        "OneHeadSeesTheFuture",
    ),
    "the mask does not reach all layers": (
        "Encoder.OnlyTheLastLayerSeesTheMask",
        "Encoder.TheMaskReachesTheFirstLayerAlone",
        "Decoder.DeeperLayersSeeTheFuture",
        "Decoder.TheMemoryMaskReachesTheFirstLayerAlone",
        "Decoder.TheSelfMaskReachesTheFirstLayerAlone",
    ),
    "the padding mask is off by one token": (
        "padding_mask.one_token_too_few",
        "padding_mask.one_token_too_many",
        "Transformer.AMaskThatAllowsEverythingHidesTheLastToken",
        _change(r"padding_mask, off_by_one: .* <= lengths"),
        _change(r"padding_mask, off_by_one: .* -> torch\.arange\(1, "),
    ),
    "what lies beyond the longest sequence is cut off": (
        "padding_mask.cut_at_the_longest",
        "Encoder.TheOutputEndsWithTheLongestSequence",
    ),
    # --- Causality -----------------------------------------------------------------------------
    "the causal mask is missing": (
        "WithoutACausalMask",
        "DecoderLayer.TheFlagEndsInTheLayer",
        "DecoderLayer.TheFlagIsForTheKernelThatIsNotTaken",
        "Transformer.ADynamicMaskTakesTheCausalOnesPlace",
        _change(r"DecoderLayer\.forward, mask: self\.self_attention.*, None\)$"),
    ),
    "a mask that is passed takes the causal mask away": (
        "SelfMaskReplacesTheCausalOne",
        "EitherMaskMayAllow",
        _change(r", mask: mask & self_mask -> (self_mask|mask \|)"),
    ),
    "the mask is off by one, so that every token sees the next": (
        "causal_mask.the_next_token_is_seen",
        "scaled_dot_product_attention.one_token_of_the_future_is_seen",
        "MaskShiftedByOne",
        "DecoderLayer.EveryTokenSeesTheNext",
        "OneTokenOfTheFuture",
        "Transformer.TheMaskIsOffByOne",
        _change(r"causal_mask, off_by_one: .*tril\(1\)"),
    ),
    "the mask hides a token from itself": (
        "causal_mask.the_diagonal_is_blocked",
        "scaled_dot_product_attention.the_present_is_hidden",
        "SelfAttention.OwnTokenMaskedOut",
        "DecoderLayer.NoTokenSeesItself",
        "StrictlyPast",
        "StrictlyPastButForTheFirst",
        _change(r"causal_mask, off_by_one: .*tril\(-1\)"),
    ),
    "the future is hidden where nobody asked for it": (
        "scaled_dot_product_attention.always_causal_for_squares",
        "scaled_dot_product_attention.causal_unless_there_is_a_mask",
        "AdditiveAttention.CausalUnlessThereIsAMask",
        "AlwaysCausal",
        "NoMaskMeansCausal",
        "MultiHeadAttention.CausalForOneSequence",
        "CausalWithoutBeingAsked",
        "TheMemoryIsCausal",
        "Transformer.TheEncoderIsCausal",
    ),
    "the first query is aligned with the first key, where the last belong together": (
        "scaled_dot_product_attention.causal_from_the_first_key",
        "sinusoidal_positional_encoding.distances_from_the_first_key",
        "Transformer.TheCausalMaskIsAlignedWithTheFirstKey",
    ),
    "the causal mask ends at a fixed length and hides nothing beyond it": (
        "causal_mask.everything_is_seen_past_a_hundred",
        "causal_mask.nothing_is_hidden_past_a_buffer",
        "CausalUpToSixteenTokens",
        "Transformer.TheMaskEndsAtSixteen",
    ),
    "a token sees only itself or what is near it": (
        "causal_mask.a_window_as_wide_as_half_the_length",
        "scaled_dot_product_attention.a_window_of_two_tokens",
        "scaled_dot_product_attention.the_past_ends_at_thirty_two",
        "WindowOfNearKeys",
        "MultiHeadAttention.WindowOfFiftyKeys",
        "SelfAttention.WindowOfFiftyTokens",
        "SelfAttention.WindowOfNearTokens",
        "ATokenSeesItsNeighboursAlone",
        "OnlyTheLastThreeTokens",
        "PatchEmbedding.AnEncoderMadeForImages",
        "Transformer.TheEncoderHasAWindow",
        "SelfAttention.OwnTokenOnly",
        "Transformer.EachTokenSeesItselfAlone",
    ),
    # --- Heads ---------------------------------------------------------------------------------
    "the heads are split or merged without a transpose": (
        "MultiHeadAttention.SplitWithoutTranspose",
        "MultiHeadAttention.MergedWithoutTranspose",
        "MultiHeadAttention.SplitAndMergedWithoutTranspose",
        "HeadsAreCutWithoutATranspose",
        _change(r", transpose_dropped: .*\.transpose\(1, 2\) -> "),
    ),
    "other axes are exchanged than should be (transpose, permute)": (
        _change(r", axis: .*\.transpose\(1, 2\) -> "),
        _change(r"patches, axis: .*permute.*permute\((2, 0|0, 2, 1)"),
    ),
    "the columns of the heads are in another order": (
        "MultiHeadAttention.HeadsInterleaved",
        "MultiHeadAttention.MergedInterleaved",
        "MultiHeadAttention.MergedInReverse",
    ),
    "all heads share a projection": (
        "MultiHeadAttention.OneKeyProjectionForAllHeads",
        "MultiHeadAttention.OneOutputProjectionForAllHeads",
        "MultiHeadAttention.OneQueryProjectionForAllHeads",
        "MultiHeadAttention.OneValueProjectionForAllHeads",
    ),
    "several heads have the same weights": (
        "MultiHeadAttention.FirstHeadOnly",
        "MultiHeadAttention.ThirdHeadLikeTheFirst",
        "MultiHeadAttention.WeightsAveragedOverHeads",
    ),
    "every head is as wide as the model": (
        "MultiHeadAttention.HeadsOfFullWidth",
        "MultiHeadAttention.HeadsOfFullWidthWithSharedMatrices",
        "EveryHeadIsAsWideAsTheModel",
    ),
    "the number of heads is ignored": ("AlwaysOneHead",),
    "a width that the heads do not divide is accepted": (
        "MultiHeadAttention.ManyHeadsAreNotChecked",
        "MultiHeadAttention.WidthRoundedDown",
    ),
    # --- Weight matrices -----------------------------------------------------------------------
    "queries and keys go through the same matrix": (
        "AdditiveAttention.OneProjectionWhereWidthsAgree",
        "KeysByTheQueryMatrix",
        "MultiHeadAttention.OneMatrixForQueriesAndKeys",
        "KeysAreQueries",
        _change(r", shared: self\.key = .* = self\.query$"),
    ),
    "values or outputs go through the matrix of the queries": (
        _change(r", shared: self\.(value|output) = .* = self\.query$"),
    ),
    "keys and values are mixed up": (
        "SelfAttention.ValuesAreTheKeys",
        "MultiHeadAttention.KeysTakenFromTheValues",
        "MultiHeadAttention.ValuesByTheKeyMatrixForAMemory",
        "MultiHeadAttention.ValuesTakenFromTheKeys",
        _change(r", swap: .* -> \w+\((self\.query\()?query\)?, (self\.)?value"),
        _change(r", swap: self\.key\(key\) -> self\.key\(value\)"),
        _change(r", swap: split_heads\(key.* -> split_heads\(value"),
        _change(
            r", swap: .* -> \w+\(x( @ |, self\.)query(_weight\.mT|\.weight), (x @ |self\.)value"
        ),
        _change(
            r"DecoderLayer\.step, (swap: \(own\.key|swap: .*\(own\.query\(x\), values|index: cache)"
        ),
    ),
    "a weight matrix is transposed": (
        "MatricesTransposed",
        "MultiplicativeAttention.MatrixTransposedWhereItIsSquare",
        _change(r", transpose_dropped: \w+_weight\.mT"),
    ),
    "a projection is missing": (
        "MultiHeadAttention.NoOutputProjection",
        "MultiHeadAttention.OutputProjectionForgotten",
        "SelfAttention.ValuesNotProjected",
        "MultiplicativeAttention.MatrixLeftOutWhereWidthsAgree",
        _change(r"Attention\.forward, dropped: self\.\w+\("),
        _change(r"PatchEmbedding\.forward, dropped: "),
        _change(r"DecoderLayer\.step, dropped: own\."),
    ),
    "the output layer is missing, so that states are given for logits": (
        _change(
            r"(Seq2Seq|Transformer)\.(step|decode), dropped: self\.output.* -> (?!self\.output)"
        ),
    ),
    "there is a parameter that nothing uses": (
        "AdditiveAttention.AMatrixThatNothingUses",
        "ParameterThatNothingUses",
    ),
    "the result depends on a number that is no parameter": ("with_a_number_of_its_own",),
    # --- Gradients -----------------------------------------------------------------------------
    "the gradient is cut at the keys or the values (detach)": (
        "scaled_dot_product_attention.the_keys_are_detached",
        "AdditiveAttention.TheKeysAreProjectedWithoutGradient",
        "KeysDetached",
        "KeysAreDetached",
        "KeysAndValuesAreDetached",
        "scaled_dot_product_attention.the_values_are_detached",
        "AdditiveAttention.TheValuesAreDetached",
        "MultiplicativeAttention.ValuesDetached",
        _change(r", detached: self\.\w+\(.* -> self\.\w+\((key|value)\.detach"),
    ),
    "the gradient is cut at the queries (detach)": (
        _change(r", detached: self\.query\(query\) -> self\.query\(query\.detach"),
        _change(r", detached: self\.(self_|cross_)?attention\(x"),
    ),
    "the gradient is cut at the weights (detach)": (
        "the_weights_are_detached",
        "scaled_dot_product_attention.only_the_weights_that_are_given_back_are_detached",
        "AdditiveAttention.TheEnergyIsDetached",
        "AdditiveAttention.TheWeightsAreDetached",
        "WeightsDetached",
        "AttentionSeq2Seq.WeightsAreDetached",
        _change(r", detached: query @ key"),
        _change(r"additive_score, detached: hidden"),
        _change(r", detached: (masked_)?softmax\("),
    ),
    "the gradient is cut between decoder and encoder (detach)": (
        "AttentionSeq2Seq.EncoderIsDetached",
        "Seq2Seq.TheContextIsDetached",
        "TheMemoryIsDetached",
        _change(r"unroll, detached: "),
        _change(r"Transformer\.encode, detached: self\.encoder\(.*\)\.detach\(\)$"),
    ),
    "the gradient is cut at a mean, a spread or a sum (detach)": (
        "softmax.the_denominator_is_detached",
        "LayerNorm.MeanIsDetached",
        "LayerNorm.SpreadIsDetached",
        _change(r"layer_norm, detached: centred\.square"),
    ),
    "the gradient is cut before a parameter, which never learns (detach)": (
        "FeedForward.FirstLayerIsDetached",
        "LayerNorm.GainNeverLearns",
        "LearnedPositionalEmbedding.FirstRowNeverLearns",
        "LearnedPositionalEmbedding.TableDetached",
        "Transformer.TheTargetEmbeddingIsFrozen",
        _change(r"additive_score, detached: torch\.tanh"),
        _change(r"feed_forward, detached: torch\.relu"),
        _change(r"(split_heads|multi_head_attention), detached: "),
        _change(r", detached: self\.output\(heads\) -> self\.output\(heads\.detach"),
        _change(r"residual, detached: "),
        _change(
            r"Layer\.(forward|_after\w+), detached: residual\(x, (attend|consult).*\)\.detach\(\)$"
        ),
        _change(r"Layer\.forward, detached: self\._after\w+\(x"),
        _change(r"Layer\._after\w+, detached: residual\(x, .* -> .*\(x\.detach"),
        _change(r"Layer\.forward, detached: residual\(x, self\.feed.* -> .*\(x\.detach"),
        _change(r"Embedding\.forward, detached: super"),
        _change(r"(_Encoder\.forward|AttentionSeq2Seq\.step), detached: self\.embedding"),
        _change(r"AttentionSeq2Seq\.encode, detached: torch\.tanh"),
        _change(r"GRUCell\.forward, detached: (torch|\(1 - update|self\.input)"),
        _change(r"Seq2Seq\.step, detached: .*state\.detach"),
        _change(r"Transformer\._embed, detached: "),
        _change(r"Transformer\.(encode|decode), detached: self\._embed"),
        _change(r"Transformer\.(encode|decode), detached: .* -> .*\(x\.detach"),
        _change(r"Transformer\.decode, detached: self\.decoder\(.*\)\.detach\(\)$"),
    ),
    "the gradient does not reach the input (detach)": (
        _change(r"layer_norm, detached: x - "),
        _change(r"patches, detached: "),
        _change(r"Layer\.forward, detached: residual\(x, attend.* -> residual\(x\.detach"),
        _change(r"coder\.forward, detached: layer.* -> layer\(x\.detach"),
    ),
    "the result is detached, so that nothing learns": (
        _change(r", detached: weights @ value"),
        _change(r"feed_forward, detached: hidden"),
        _change(r"layer_norm, detached: gain"),
        _change(r": softmax, detached: "),
        _change(r"(FeedForward|LayerNorm|PatchEmbedding)\.forward, detached: \w"),
        _change(r", detached: self\.output\(heads\) -> .*\)\.detach\(\)$"),
        _change(r"Layer\.\w+, detached: residual\(x, self\.feed_forward.*\)\.detach\(\)$"),
        _change(r": (En|De)coder\.forward, detached: .*norm"),
        _change(r": (En|De)coder\.forward, detached: layer.*\)\.detach\(\)$"),
        _change(r"teacher_forced, detached: "),
        _change(r"(Seq2Seq|Transformer)\.forward, detached: "),
        _change(r"Seq2Seq\.step, detached: self\.output.*\)\.detach\(\)$"),
        _change(r"Transformer\.decode, detached: self\.output\(x\) -> .*\)\.detach\(\)$"),
    ),
    "the gradient does not go back through time (detach)": (
        "Seq2Seq.TheStateIsDetachedAfterEachStep",
        _change(r", detached: self\.recurrent\(state\) -> self\.recurrent\(state\.detach"),
    ),
    "the gradient reaches what took no part in the result": (
        "scaled_dot_product_attention.the_gradient_of_the_values_is_averaged",
        "FeedForward.GradientSpreadOverTheTokens",
        "LearnedPositionalEmbedding.GradientForEveryRow",
        "TheFutureLeaksIntoTheGradient",
    ),
    "the backward pass does not belong to the forward pass": (
        "gradient_off_by_a_hundredth",
        "softmax.the_gradient_passes_straight_through",
    ),
    "something else is computed while gradients are recorded": (
        "another_path_in_training",
        "softmax.a_faster_exponential_where_nothing_is_learned",
        "scaled_dot_product_attention.the_scale_is_forgotten_where_nothing_is_learned",
        "AdditiveAttention.AnotherTanhWhereNothingIsLearned",
        "MultiplicativeAttention.WeightsSmoothedWhereGradientsAreRecorded",
        "SelfAttention.MaskForgottenWhereNothingIsLearned",
        "MultiHeadAttention.OneHeadDroppedWhereGradientsAreRecorded",
        "Transformer.TrainingReadsNoPositions",
        "Encoder.TheFastPathGivesZeroesForPadding",
    ),
    # --- Tensors, calls and precision ----------------------------------------------------------
    "the inputs are overwritten": (
        "first_input_zeroed_after_use",
        "softmax.shifted_in_place",
        "padding_mask.lengths_are_counted_down_in_place",
        "scaled_dot_product_attention.the_mask_is_inverted_in_place",
        "scaled_dot_product_attention.the_query_is_scaled_in_place",
        "AdditiveAttention.HiddenValuesAreZeroedInPlace",
        "AdditiveAttention.QueriesAreCentredInPlace",
        "MultiplicativeAttention.HiddenValuesZeroedInPlace",
        "MultiplicativeAttention.KeysCentredInPlace",
        "SelfAttention.TokensScaledInPlace",
        "MultiHeadAttention.QueryScaledInPlace",
        _change(r"(layer_norm|: softmax), in_place: x - "),
        _change(r"residual, in_place: "),
    ),
    "a tensor that the gradient still needs is overwritten (in place)": (
        _change(r": softmax, in_place: exponentials"),
        _change(r"GRUCell\.forward, in_place: "),
    ),
    "arguments are passed in the wrong order": (
        _change(r"FeedForward\.forward, swap: feed_forward"),
        _change(r"LayerNorm\.forward, swap: .* -> layer_norm\((self\.gain, x|x, self\.gain)"),
        _change(r"masked_softmax, swap: "),
        _change(r"additive_attention, swap: .* -> additive_score\(query, energy"),
        _change(r"AdditiveAttention\.forward, swap: .*energy, value, mask\)$"),
        _change(r"SelfAttention\.forward, swap: .* -> self_attention\(self\.query"),
        _change(r"(_generated|_cell|_zeros|_embed), swap: "),
        _change(r"Transformer\.step, swap: self\._embed"),
        _change(r"Decoder\.step, swap: .* -> layer\.step\(x, caches"),
    ),
    "zeros are used that nothing was written into": (
        _change(r", constant_result: weights @ value"),
        _change(r"(feed_forward|layer_norm|multi_head_attention), constant_result: "),
        _change(r"(: softmax|patches|teacher_forced), constant_result: "),
        _change(r"(FeedForward|LayerNorm|Attention|PatchEmbedding)\.forward, constant_result: "),
        _change(r"Layer\.(forward|_after\w+), constant_result: "),
        _change(r"(: Encoder|: Decoder|Seq2Seq|Transformer)\.(forward|decode), constant_result: "),
        _change(r"Seq2Seq\.step, constant_result: self\.output"),
    ),
    "a result is not appended to its list": (_change(r", step_dropped: \w+\.append"),),
    "a division is the wrong way round": (
        _change(r", swap: (query @ key\.mT|exponentials|gain \* centred) / "),
    ),
    "a difference is the wrong way round": (_change(r", swap: x - x\."),),
    "tensors are taken to be contiguous": (
        "storage_read_in_order",
        "the_storage_is_read_in_order",
        "AdditiveAttention.TheStorageIsReadInOrder",
        "StridesAssumed",
    ),
    "a size is read off another axis": (
        _change(r", scale: (?!query)\S+\.shape\["),
        _change(r"(split_heads|patches), layout: "),
    ),
    "sizes are passed to reshape in another order": (
        _change(r", axis: .*\.reshape\([^()]*\) -> "),
    ),
    "a new axis is put in the wrong place (unsqueeze)": (
        _change(r"(additive_score|padding_mask|positional_encoding|unroll), layout: "),
        _change(r"(\.step|_for_every_query), layout: "),
    ),
    "axes are not flattened, or the wrong ones": (
        _change(r", (axis|transpose_dropped): .*\.flatten\(-2\) -> "),
    ),
    "tensors are joined along another axis (cat, stack)": (
        _change(r", axis: torch\.(stack|cat)\((?!\[angles)"),
    ),
    "the gates of a cell are cut along another axis (chunk)": (_change(r", axis: .*\.chunk\("),),
    "keepdim is missing, so that the shapes do not fit": (
        _change(r", axis: .*keepdim=True\) -> [^=]*$"),
    ),
    "something of an earlier call is kept and used again": (
        "a_little_more_every_time",
        "causal_mask.a_copy_of_a_mask_that_is_inverted_in_place",
        "causal_mask.a_kept_mask_is_inverted_in_place",
        "scaled_dot_product_attention.every_second_call_is_rounded",
        "AdditiveAttention.TheLastWeightsAreRemembered",
        "MultiplicativeAttention.ScoresRemembered",
        "SelfAttention.SequenceMeanRemembered",
        "MultiHeadAttention.LastKeysRemembered",
        "AdditiveAttention.ProjectedKeysAreCached",
        "SelfAttention.FirstMaskRemembered",
        "LearnedPositionalEmbedding.InitialTableKept",
        "AttentionSeq2Seq.WeightsComputedOnce",
        "TheFirstSourceIsAnsweredAgain",
        "Transformer.AnEarlierSourceOfTheSizeIsAnswered",
    ),
    "dropout is left on": (
        "dropout_is_left_on",
        "DropoutIsLeftOn",
        "DropoutAlwaysOn",
        "MultiHeadAttention.DropoutWhateverTheMode",
        "causal_mask.positions_are_dropped_at_random",
        "padding_mask.tokens_are_dropped_at_random",
    ),
    "a result is computed in float32 half-way": (
        "computed_in_float32",
        "AdditiveAttention.TanhInFloat32",
        "SinglePrecisionInside",
        "LayerNorm.ComputedInFloat32",
        "sinusoidal_positional_encoding.frequencies_rounded_to_float32",
        "sinusoidal_positional_encoding.last_row_computed_apart",
        _change(r", single_precision: (?!self\.encoder\(source)"),
    ),
    "a result is computed in half precision half-way (autocast)": (
        "softmax.computed_in_bfloat16_when_not_in_float64",
        "scaled_dot_product_attention.float32_is_computed_in_bfloat16",
        "LayerNorm.ThreeDigitsInFloat32",
        "sinusoidal_positional_encoding.computed_in_bfloat16",
    ),
    "positions are counted in a type that has too few digits": (
        "sinusoidal_positional_encoding.angles_in_bfloat16",
        "sinusoidal_positional_encoding.angles_in_float16",
        "sinusoidal_positional_encoding.positions_counted_in_float16",
        "sinusoidal_positional_encoding.positions_counted_in_the_results_dtype",
    ),
    # --- Tokens and items that should not meet -------------------------------------------------
    "a mean or a spread is taken over the batch": (
        "centred_over_the_batch",
        "KeysCentredOverTheBatch",
        "scaled_dot_product_attention.scores_are_normalised_over_the_batch",
        "SelfAttention.TokensCentredOverTheBatch",
        "LayerNorm.OverTheBatch",
        "FeedForward.BatchNormOverAllTokens",
        _change(r"layer_norm, axis: .*mean\(0"),
    ),
    "what belongs to the first item of a batch serves all": (
        "softmax.only_the_first_item_is_normalised_by_itself",
        "scaled_dot_product_attention.a_third_leading_dimension_is_forgotten",
        "scaled_dot_product_attention.keys_of_the_first_item_only",
        "AdditiveAttention.KeysOfTheFirstItemOnly",
        "LayerNorm.SpreadOfTheFirstToken",
        "Transformer.TheCacheIsThatOfTheFirstItem",
    ),
    "a mean or a spread is taken over all tokens, hidden or not": (
        "scaled_dot_product_attention.keys_are_centred",
        "scaled_dot_product_attention.queries_are_centred",
        "AdditiveAttention.KeysAreCentred",
        "AdditiveAttention.QueriesAreCentred",
        "MultiplicativeAttention.QueriesCentred",
        "SelfAttention.QueriesCentredOverTheSequence",
        "FeedForward.MeanOfTokensTakenAwayWithoutGradient",
        "CentredOverTheTokens",
        "StatesCentredALittleOverTheSource",
        "LaterTokensLeakThroughAMean",
        "PatchEmbedding.MeanOfTheTokensLeaks",
        "Transformer.ALittleOfTheFutureLeaks",
        _change(r"layer_norm, axis: .*mean\(-2"),
    ),
    "a result is scaled by how long the sequence or the padded batch is": (
        "Encoder.ALittleDependsOnTheNumberOfTokens",
        "ScoresShrinkWithTheLength",
        "TheMemoryAddsUp",
        "StatesScaledByTheLongestSource",
        "TheStateScaledByThePaddedWidth",
        "Transformer.TheMemoryIsScaledByItsLength",
    ),
    "a token's place is put in where positions do not belong": (
        "scaled_dot_product_attention.positions_are_added_to_the_keys",
        "KeysNumberedByPosition",
        "SelfAttention.HiddenIndex",
        "SelfAttention.TokensNumberedByPosition",
        "FeedForward.PlaceAddedToTheHiddenUnits",
        "PatchEmbedding.PlaceIsAdded",
        "Encoder.PositionsInsideTheEncoder",
        "AdditiveAttention.PositionsAreAddedToTheScores",
        "PositionsAreLeftIn",
        "MultiHeadAttention.LaterKeysSmaller",
        "EarlyMemoryWeighsMore",
        "LateTokensWeighMore",
    ),
    "what lies beyond a fixed length is left out": (
        "FeedForward.TokensBeyondThirtyTwoPassUnchanged",
        "LayerNorm.VarianceOfTheFirstThousandEntries",
        "EncoderLayer.ResidualBeyondTheFirstEightTokensIsLost",
        "scaled_dot_product_attention.keys_past_64_are_not_seen",
        "AdditiveAttention.ValuesPast32AreNotSeen",
        "MultiplicativeAttention.SecondChunkOfKeysForgotten",
        "AttentionSeq2Seq.EightTokensAreEnough",
    ),
    # --- Feed-forward network and normalisation ------------------------------------------------
    "the feed-forward network has no activation": (
        "FeedForward.NoActivation",
        "FeedForward.TheNetworkIsOneLinearMap",
        _change(r"feed_forward, dropped: torch\.relu"),
    ),
    "the hidden width is not the one that is asked for": (
        "FeedForward.HalfOfTheHiddenWidth",
        "FeedForward.HiddenWidthIsFourTimesTheModels",
    ),
    "the feed-forward network is not used": (
        "TheFeedForwardNetworkIsForgotten",
        _change(r", dropped: residual\(x, self\.feed_forward"),
    ),
    "the spread is not the standard deviation (unbiased, absolute, not centred)": (
        "LayerNorm.UnbiasedVariance",
        "LayerNorm.MeanAbsoluteDeviation",
        "LayerNorm.CentredAfterScaling",
        "LayerNorm.OnlyTheLengthIsDivided",
        _change(r"layer_norm, dropped: x - x\.mean"),
        _change(r"layer_norm, scale: (centred\.square|torch\.sqrt)"),
    ),
    "epsilon has another size or stands in another place": (
        "LayerNorm.EpsilonOfAMillionth",
        "LayerNorm.EpsilonOnlyWhereItIsNeeded",
        "LayerNorm.EpsilonOutsideTheRoot",
        _change(r"LayerNorm, constant: .* -> (1e-06|0\.001)$"),
    ),
    "there is no epsilon": (
        _change(r"LayerNorm, constant: .* -> 0\.0$"),
        _change(r"layer_norm, dropped: variance \+ eps -> variance"),
    ),
    "tokens are not divided by their spread": (
        _change(r"layer_norm, scale: gain \* centred / "),
        _change(r"layer_norm, dropped: variance \+ eps -> eps"),
    ),
    "the normalisation runs over other axes than the width": (
        "LayerNorm.FourDimensionsAreTakenForImages",
        "LayerNorm.OverTheLastTwoAxes",
        "LayerNorm.OverTheSecondAxisOfTheInput",
        "NormalisedOverTheTokens",
    ),
    "the gain is not used": (
        "LayerNorm.GainIsNotUsed",
        "LayerNorm.GainOfAnotherNameIsNotUsed",
    ),
    "gain and bias do not start at one and zero": (
        "LayerNorm.GainStartsAtZero",
        _change(r"LayerNorm\.__init__, sign: "),
    ),
    "the input has no part in the result": (
        _change(r"feed_forward, dropped: .* -> (inner|outer)_bias"),
        _change(r"layer_norm, dropped: gain .* -> bias"),
        _change(r"_embed, dropped: x \+ positions.* -> positions"),
    ),
    # --- Layers and stacks ---------------------------------------------------------------------
    "the residual connection is missing": (
        "EncoderLayer.AttentionLeavesTheResidualOut",
        "EncoderLayer.NoResidualAroundAttention",
        "EncoderLayer.NoResidualAroundTheFeedForwardNetwork",
        "EncoderLayer.NoResiduals",
        "EncoderLayer.ResidualTimesZero",
        "DecoderLayer.NoResidualAroundCrossAttention",
        "DecoderLayer.NoResidualAroundSelfAttention",
        "NoResidualAroundTheCrossAttention",
        "AsTheEquationsAreWritten",
        "Encoder.EncoderWithoutResiduals",
        "Encoder.LastOfSeveralEncoderLayersWithoutResiduals",
        "Decoder.DecoderWithoutResidualsAroundTheMemory",
        _change(r"residual, dropped: .* -> norm\(said\)"),
    ),
    "a branch is added to itself (x + x)": (
        "EncoderLayer.TokensAddedToThemselves",
        "EncoderLayer.TokensAddedToThemselvesBeforeTheNorm",
        "EncoderLayer.WhatAttentionSaidIsAddedToItself",
    ),
    "the second residual starts at the layer's input": (
        "EncoderLayer.TheLayersInputIsAddedTwice",
        "EncoderLayer.TheLayersInputIsAddedTwiceBeforeTheNorm",
        "Encoder.EncoderOfLayersWhoseInputIsAddedTwice",
    ),
    "one summand of the residual is normalised and not the sum": (
        "EncoderLayer.TheSkipIsNormalisedAndNotTheSum",
        "EncoderLayer.TheSublayersOutputIsNormalisedAndNotTheSum",
    ),
    "a normalisation is missing": (
        "EncoderLayer.NothingIsNormalised",
        "DecoderLayer.NothingIsNormalisedInTheDecoder",
        "Encoder.EncoderWithoutNormalisations",
        "Decoder.DecoderWithoutNormalisations",
        "EncoderLayer.QueriesAreNormalisedAlone",
        "EncoderLayer.TheNetworkReadsTokensAsTheyAre",
        _change(r"residual, dropped: .* -> x \+ said"),
    ),
    "what the sublayers say is not used": (
        _change(r"residual, dropped: (sublayer|.* -> norm\(x\)$)"),
    ),
    "the self-attention is left out": (
        _change(r"Layer\.forward, (step_dropped: x = |dropped: )residual\(x, attend"),
    ),
    "the sublayers run beside each other and not one after another": (
        "EncoderLayer.SublayersBesideEachOther",
        "EncoderLayer.SublayersBesideEachOtherBeforeTheNorm",
        "DecoderLayer.ResidualsBesideEachOther",
        "Decoder.DecoderOfResidualsBesideEachOther",
    ),
    "the sublayers are in another order": (
        "EncoderLayer.TheNetworkComesFirst",
        "DecoderLayer.CrossAttentionComesFirst",
    ),
    "all layers are one and the same": (
        "OneLayerIsUsedAgain",
        "Transformer.OneLayerIsUsedAgainAndAgain",
        _change(r", shared: nn\.ModuleList"),
    ),
    "layers share their feed-forward network": (
        "Encoder.OneFeedForwardNetworkForAllLayers",
        "Transformer.BothSidesShareTheirFeedForwardNetworks",
        "Transformer.FeedForwardNetworksAreShared",
    ),
    "self-attention and cross-attention share their weights": (
        "OneAttentionDoesBoth",
        _change(r", shared: self\.cross_attention"),
    ),
    "layers are kept in a plain list, where torch does not find them": (
        "LayersInAPlainList",
        "Transformer.LaterLayersAreNotRegistered",
    ),
    "not all layers are used": (
        "OnlyThreeLayersAreUsed",
        "Encoder.TheMemoryIsTheFirstLayers",
        "Encoder.TwoLayersAtMost",
        "Decoder.TheLastLayerIsLeftOut",
        "Transformer.TheMemoryIsThatOfTheFirstLayer",
        _change(r"coder\.__init__, off_by_one: range\(n_layers"),
        _change(r"coder\.forward, step_dropped: self\.layers -> .*\[(1:|:-1)\]"),
    ),
    "what the layers give is thrown away": (
        _change(r"coder\.forward, (step_dropped: x = |dropped: )layer"),
        _change(r"Transformer\.(encode|decode), (step_dropped: x = |dropped: )self\.(en|de)coder"),
    ),
    # --- Encoder and decoder -------------------------------------------------------------------
    "the source does not reach the decoder": (
        "KeysAndValuesAreTheDecodersOwn",
        "WhatWasConsultedIsNotUsed",
        "Seq2Seq.TheDecoderStartsFromZero",
        "AttentionSeq2Seq.ADecoderWithoutAMemory",
        "Transformer.TheMemoryIsBypassed",
        "TheSourceIsNotRead",
        _change(r"_after_self_attention, (step_dropped: x = |dropped: )residual\(x, consult"),
        _change(r"(DecoderLayer|Decoder)\.forward, swap: .* -> \S+\(x, x, "),
        _change(r"Transformer\.encode, constant_result: "),
    ),
    "the decoder's tokens and the memory change places": (
        _change(r"Decoder(Layer)?\.forward, swap: .* -> \S+\(memory, x"),
        _change(r"Transformer\.decode, swap: self\.decoder"),
    ),
    "the memory is one vector for the whole source": (
        "Encoder.EveryTokenIsTheAverage",
        "Encoder.TheMemoryIsTheLastToken",
        "Transformer.OnlyTheLastRowOfTheMemoryIsRead",
    ),
    "the decoder ignores one of its masks": (
        "MemoryMaskIsDiscarded",
        "Transformer.CrossAttentionReadsPadding",
        "SelfMaskIsDiscarded",
        _change(r"Transformer\.decode, mask: "),
        _change(r": DecoderLayer\.(forward|_after\w+), mask: .*memory, None\)$"),
        _change(r": Decoder\.forward, mask: "),
        _change(r": DecoderLayer\.forward, (step_dropped: mask = |(condition|mask): .* -> mask$)"),
    ),
    "a mask goes to the wrong one of the decoder's two attentions": (
        "MemoryMaskGoesThereWhereItFits",
        "MemoryMaskGoesToTheSelfAttention",
        "DecoderLayer.TheDecodersMaskReachesTheMemory",
        "DecoderLayer.TheMemoryIsNotMasked",
        _change(r", swap: .* -> layer\(x, memory, memory_mask, self_mask"),
    ),
    "the encoder reads padding as if it were real": (
        "TheStateAfterThePadding",
        "Seq2Seq.unrolled_as_far_as_the_longest",
        "Seq2Seq.unrolled_into_the_padding",
        "Transformer.TheEncoderReadsPadding",
        _change(r"unroll, step_dropped: (if lengths|after = )"),
        _change(r"(unroll|_where), mask: .* -> (after|new)$"),
        _change(r"unroll, off_by_one: t < .* t <= "),
        _change(r"(_Encoder\.forward|Seq2Seq\.encode|Transformer\.encode), mask: "),
    ),
    "padding of the source is read in generation": (
        "PaddingIsReadWhenGenerating",
        "Transformer.GenerationReadsPadding",
        "Transformer.TheSourceMaskIsForgottenAfterEight",
        "Transformer.TheStepReadsPadding",
        _change(r"\.generate, mask: "),
        _change(r"(Transformer|Decoder|DecoderLayer)\.step, mask: "),
    ),
    "padding of the source is read in teacher forcing": (
        "PaddingIsForgottenWhenForced",
        "AttentionSeq2Seq.TheMaskIsLostWhenForced",
        "Transformer.TheWholeForgetsTheMask",
        _change(r"(Seq2Seq|Transformer)\.forward, mask: "),
    ),
    "padding counts in the loss": (
        "Seq2Seq.divided_by_all_tokens",
        "Seq2Seq.padding_in_the_loss",
        "Transformer.padding_counts_in_the_mean",
    ),
    "the loss is not the mean over all tokens": (
        "Seq2Seq.summed_over_the_tokens",
        "Transformer.every_sequence_is_averaged_first",
    ),
    "source and target are taken to be of one length": (
        "MemoryAsLongAsTheTarget",
        "TargetsEndWhereTheSourceDoes",
        "TheTargetIsAsLongAsTheSource",
    ),
    "the encoder reads the source from its end": (
        "BothDirectionsRead",
        "TheSourceIsReadBackwards",
    ),
    "the state starts from zero in every step": (
        "EveryStepStartsFromZero",
        "TheStateIsResetEveryStep",
    ),
    "the state is not carried on from one step to the next": (
        "Seq2Seq.TheNextStateIsTheLastOne",
        _change(r", step_dropped: state = "),
    ),
    "tokens that are a few steps old are forgotten": (
        "TheFirstTokenIsForgottenAfterFour",
        "TheStateIsKeptForTwoTokens",
    ),
    "the cache does not keep all earlier tokens": (
        "Transformer.TheCacheDoesNotGrow",
        "Transformer.TheCacheForgetsWhatIsOld",
        "Transformer.TheCacheIsCompressedInBlocks",
        _change(r"DecoderLayer\.step, step_dropped: (if cache|keys = |values = )"),
        _change(r"Decoder\.step, condition: .* -> None$"),
    ),
    "the first step has no cache, and one is used all the same": (
        _change(r", condition: (if cache|.* -> cache)"),
    ),
    "the newest token is put before those in the cache": (
        _change(r"DecoderLayer\.step, swap: \["),
    ),
    "what a sequence needs is kept in the module, and other sequences get it": (
        "TheStateLeaksIntoTheNextSequence",
        "Seq2Seq.AHiddenSkipToTheEncoder",
        "Seq2Seq.TheContextIsKeptInTheModule",
        "AttentionSeq2Seq.TheMemoryIsThatOfTheLastSource",
        "Transformer.ANewSequenceBeginsWithTheOldOne",
        "Transformer.TheCacheIsTheModels",
    ),
    # --- Targets and generation ----------------------------------------------------------------
    "the target is not shifted, so that a token is fed that should be predicted": (
        "TheTargetIsNotShifted",
        "Seq2Seq.TheTargetIsFedUnshifted",
    ),
    "logits and targets are one token apart": (
        "Seq2Seq.LogitsAreFilledInFromTheSecondOn",
        "Transformer.the_loss_shifts_once_more",
    ),
    "training feeds the model's own tokens and not the target": ("TrainingFeedsItsOwnTokens",),
    "generation feeds the start token every time": (
        "TheStartTokenIsFedEveryTime",
        "Transformer.EveryTokenFollowsTheStartToken",
        _change(r"_generated, step_dropped: token = "),
    ),
    "what is generated begins with the start token": (
        "TheStartTokenIsKept",
        "Transformer.TheStartTokenIsGenerated",
    ),
    "generation does not always take the likeliest token": (
        "TheLeastLikelyTokenComesFourth",
        "Seq2Seq.the_likeliest_by_turns",
        "Transformer.TheSecondLikeliestIsChosenLate",
        _change(r"greedy, sign: "),
    ),
    "the likeliest token is looked for along another axis (argmax)": (_change(r"greedy, axis: "),),
    "generation goes on after the end": (
        "Seq2Seq.a_beam_that_goes_on_after_the_end",
        "Seq2Seq.it_goes_on_after_the_end",
    ),
    "the logits have been through a softmax": (
        "ProbabilitiesForLogits",
        "Transformer.OnlyTheWholeEndsWithASoftmax",
        "Transformer.TheLogitsAreProbabilities",
    ),
    # --- Positions -----------------------------------------------------------------------------
    "no positions are added": (
        "sinusoidal_positional_encoding.zeros",
        "PatchEmbedding.PatchesWithoutPositions",
        "Transformer.WithoutPositions",
        _change(r"positional_encoding, constant_result: "),
        _change(r"_embed, dropped: x \+ positions.* -> x$"),
    ),
    "positions are added to one of source and target alone": (
        "Transformer.PositionsForTheSourceAlone",
        "Transformer.TheSourceHasNoPositions",
        "Transformer.TheTargetHasNoPositions",
    ),
    "all tokens of a sequence get the same position": (
        "sinusoidal_positional_encoding.one_row_for_all",
        "Transformer.OneRowOfPositionsForAll",
        "Transformer.PositionsAreThoseOfTheBatch",
        "Transformer.TheCachedPositionStartsAgain",
        _change(r"Transformer\.step, condition: .* -> 0$"),
        _change(r"_embed, off_by_one: "),
    ),
    "a loop over the tokens counts from one and not from zero": (
        _change(r"(teacher_forced|_generated|unroll), off_by_one: range\(.* -> range\(1, "),
    ),
    "positions are counted from one and not from zero": (
        "sinusoidal_positional_encoding.positions_counted_from_one",
        _change(r"positional_encoding, off_by_one: .*arange\(1, "),
        _change(r"PositionalEmbedding\.forward, off_by_one: .* -> 1:"),
        _change(r"_embed, default: first"),
    ),
    "a range ends one too early": (
        _change(r"(teacher_forced|_generated|unroll), off_by_one: range\(.* - 1\)$"),
        _change(r"(positional_encoding|padding_mask), off_by_one: .*arange\(\w+ - 1"),
        _change(r"PositionalEmbedding\.forward, off_by_one: .* - 1$"),
    ),
    "some positions get the encoding of others": (
        "sinusoidal_positional_encoding.table_starts_anew_after_2048",
        "LearnedPositionalEmbedding.LastRowRepeated",
        "LearnedPositionalEmbedding.LongTablesShareRows",
        "LearnedPositionalEmbedding.TableStartsAnew",
        "Transformer.PositionsEndAtSixteen",
        "Transformer.PositionsEndAtTwenty",
        "sinusoidal_positional_encoding.every_position_twice",
        "Transformer.PositionsByPairs",
    ),
    "a position's encoding depends on the length of the sequence": (
        "sinusoidal_positional_encoding.positions_as_a_share_of_the_length",
        "LearnedPositionalEmbedding.LastRowsInPlaceOfTheFirst",
        "LearnedPositionalEmbedding.RowsStretchedOverTheSequence",
    ),
    "the base of the wavelengths is not ten thousand": (
        "sinusoidal_positional_encoding.base_of_one_thousand",
        "sinusoidal_positional_encoding.one_width_of_another_base",
        "sinusoidal_positional_encoding.wide_encodings_of_another_base",
        _change(r"_frequencies, constant: 10000"),
    ),
    "the exponents of the wavelengths are not 2i/d": (
        "sinusoidal_positional_encoding.exponent_i_over_d",
        "sinusoidal_positional_encoding.odd_widths_get_other_frequencies",
        "sinusoidal_positional_encoding.wavelengths_reach_the_base",
        "sinusoidal_positional_encoding.logarithm_divided_too_early",
        "sinusoidal_positional_encoding.whole_numbers_times_a_fraction",
        _change(r"_frequencies, (scale|sign|off_by_one): "),
        _change(r"_frequencies, swap: -torch"),
        _change(r"_frequencies, constant: .*arange\(1\.0"),
        _change(r"positional_encoding, scale: positions.* / "),
    ),
    "the sine and the cosine of a pair have different frequencies": (
        "sinusoidal_positional_encoding.column_numbers_for_pair_numbers",
        "sinusoidal_positional_encoding.cosines_one_frequency_further",
    ),
    "sines and cosines are mixed up": (
        "sinusoidal_positional_encoding.cosine_first",
        "sinusoidal_positional_encoding.cosines_alone",
        _change(r"positional_encoding, (swap: \[angles|sign: angles)"),
    ),
    # --- Patches -------------------------------------------------------------------------------
    "the patches are not numbered row by row": (
        "PatchEmbedding.ColumnByColumn",
        "PatchEmbedding.SquareImagesTakenForGranted",
        _change(r"patches, axis: .*permute\(0, 4, "),
    ),
    "the image is reshaped and not cut into patches": (
        "PatchEmbedding.ReshapedAndNotCut",
        _change(r"patches, transpose_dropped: "),
    ),
    "pixels or channels are lost before the linear layer": (
        "PatchEmbedding.ChannelsAreAveraged",
        "PatchEmbedding.LargestPixelOfEachPatchOnly",
        "PatchEmbedding.LastChannelIsNotRead",
        "PatchEmbedding.PatchesAreBlurred",
    ),
}
"""The mutants that make a mistake, by the sentence that says it."""

_SENTENCES = {
    named: sentence
    for sentence, mutants in MISTAKES.items()
    for named in mutants
    if isinstance(named, str)
}

RULES = tuple(
    (rule, sentence)
    for sentence, mutants in MISTAKES.items()
    for rule in mutants
    if isinstance(rule, re.Pattern)
)
"""What is found in how a generated mutant is described, and the mistake that it then makes.

At most one of them is found in any.
"""


def subject(mutant: Mutant) -> str:
    """Describe a mutant as the rules read it: its component and its name."""
    return f"{mutant.component}: {mutant.name}"


def mistake_of(mutant: Mutant) -> str | None:
    """Say a mutant's mistake, if it is one that has a sentence."""
    named = _SENTENCES.get(f"{mutant.component}.{mutant.name}") or _SENTENCES.get(mutant.name)
    return named or _by_rule(subject(mutant))


@cache
def _by_rule(described: str) -> str | None:
    return next((sentence for rule, sentence in RULES if rule.search(described)), None)
