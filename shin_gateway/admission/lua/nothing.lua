-- A claim that was not taken, because it did not pass and only its shadow was asked for.
kinds.nothing = {settle = function() end}
